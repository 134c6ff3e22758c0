package kubectl

// Checks of what users see: StorageClasses, snapshots, claims.

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/strata-csi/strata/pkg/inspect"
	"github.com/strata-csi/strata/pkg/volume"
)

// kubernetesPrefix begins the parameters of a class that are the sidecars'.
const kubernetesPrefix = "csi.storage.k8s.io/"

func isScratch(s storagev1.StorageClass) bool { return s.Parameters["tier"] == string(volume.Scratch) }

// own are the parameters that the driver gets to see.
func own(parameters map[string]string) map[string]string {
	out := maps.Clone(parameters)
	maps.DeleteFunc(out, func(k, _ string) bool { return strings.HasPrefix(k, kubernetesPrefix) })
	return out
}

// check refuses parameters as the tier does. nothing: no such check is known here.
func (t Tiers) check(parameters map[string]string) (known bool, err error) {
	tier, err := volume.ParseTier(parameters["tier"])
	if err != nil {
		return true, err
	}
	f, known := t[tier]
	if !known {
		return false, nil
	}
	return true, f(own(parameters))
}

// plain takes the class of error away from a message, which is for programs.
func plain(err error) string { return strings.TrimPrefix(err.Error(), volume.ErrInvalid.Error()+": ") }

// storageClasses checks each class by itself, and returns the Ceph users in the secrets that they name, as arguments of
// `strata-controller inspect`.
func (c Clients) storageClasses(ctx context.Context, f *facts, tiers Tiers) (checks []inspect.Check, users []string) {
	if f.classes.err != nil {
		return []inspect.Check{unseen(inspect.Check{Name: "storageclass"}, f.classes.err)}, nil
	}
	if len(f.classes.is) == 0 {
		return []inspect.Check{{Name: "storageclass", Result: inspect.Warn, Found: "none is of this driver", Fix: "examples/ has one of each tier"}}, nil
	}
	for i := range f.classes.is {
		class := &f.classes.is[i]
		check := inspect.Check{Name: "storageclass", Subject: class.Name, Result: inspect.OK}
		fail := func(r inspect.Result, fix, format string, args ...any) {
			if check.Result != inspect.Fail {
				check.Result = r
			}
			if check.Found != "" {
				check.Found += "; "
			}
			check.Found += fmt.Sprintf(format, args...)
			if check.Fix == "" {
				check.Fix = fix
			}
		}
		again := fmt.Sprintf("a class can't be changed: kubectl delete storageclass %s, and make it anew; volumes stay", class.Name)
		known, err := tiers.check(class.Parameters)
		if err != nil {
			fail(inspect.Fail, again, "%s", plain(err))
		} else if !known {
			fail(inspect.Warn, "use the kubectl-strata of the controller's release", "this kubectl-strata doesn't know tier %s", class.Parameters["tier"])
		}
		if isScratch(*class) && (class.VolumeBindingMode == nil || *class.VolumeBindingMode != storagev1.VolumeBindingWaitForFirstConsumer) {
			fail(inspect.Fail, again, "volumeBindingMode isn't WaitForFirstConsumer: the volume is placed before its pod, and may be where the pod can't run")
		}
		found, err := c.secrets(ctx, class)
		users = append(users, found...)
		switch {
		case errors.Is(err, errSecretWrong):
			fail(inspect.Fail, "docs/parameters.md, Secrets, has its keys; a parameter that is missing: "+again, "%v", err)
		case err != nil && check.Result == inspect.OK:
			check = unseen(check, err)
		}
		if check.Result == inspect.OK {
			check.Found = "tier " + class.Parameters["tier"]
		}
		checks = append(checks, check)
	}
	return checks, slices.Compact(slices.Sorted(slices.Values(users)))
}

var errSecretWrong = errors.New("secret")

// secretEntries are what the secrets must have that nodes are given for a volume of a tier. Other tiers give them none.
var secretEntries = map[string][]string{
	string(volume.Warm): {"userID", "userKey"},
	string(volume.Cold): {"accessKeyID", "secretAccessKey"},
}

// secrets checks those that a class names, and returns the Ceph users of a warm one.
func (c Clients) secrets(ctx context.Context, class *storagev1.StorageClass) (users []string, err error) {
	entries, needed := secretEntries[class.Parameters["tier"]]
	stage := kubernetesPrefix + "node-stage-secret-name"
	if needed && class.Parameters[stage] == "" {
		return nil, fmt.Errorf("%w: parameter %s is missing: nodes have nothing to mount with", errSecretWrong, stage)
	}
	if needed {
		if err := c.ownIdentity(class, stage); err != nil {
			return nil, err
		}
	}
	for _, key := range slices.Sorted(maps.Keys(class.Parameters)) {
		kind, ok := strings.CutSuffix(key, "-secret-name")
		if !ok || !strings.HasPrefix(key, kubernetesPrefix) {
			continue
		}
		name, namespace := class.Parameters[key], class.Parameters[kind+"-secret-namespace"]
		if namespace == "" {
			return users, fmt.Errorf("%w: parameter %s-secret-namespace is missing", errSecretWrong, kind)
		}
		if strings.Contains(name+namespace, "${") { // one for each volume
			continue
		}
		secret, err := c.Kube.CoreV1().Secrets(namespace).Get(ctx, name, metav1.GetOptions{})
		if apierrors.IsNotFound(err) {
			return users, fmt.Errorf("%w %s/%s of parameter %s isn't there", errSecretWrong, namespace, name, key)
		}
		if err != nil {
			return users, err
		}
		if !strings.HasPrefix(kind, kubernetesPrefix+"node-") {
			continue
		}
		for _, entry := range entries {
			if len(secret.Data[entry]) == 0 {
				return users, fmt.Errorf("%w %s/%s of parameter %s has no %s", errSecretWrong, namespace, name, key, entry)
			}
		}
		if class.Parameters["tier"] != string(volume.Warm) {
			continue
		}
		user := strings.TrimSpace(string(secret.Data["userID"]))
		if cluster := class.Parameters["clusterID"]; cluster != "" {
			user = cluster + "/" + user
		}
		users = append(users, user)
	}
	return users, nil
}

// ownIdentity holds the parameter `identity` against the secret that nodes are given: the driver makes one for each volume with
// `identity: volume`, and none otherwise.
func (c Clients) ownIdentity(class *storagev1.StorageClass, stage string) error {
	const perVolume = "${pv.name}"
	name, namespace := class.Parameters[stage], class.Parameters[strings.TrimSuffix(stage, "-name")+"-namespace"]
	own := class.Parameters["identity"] == "volume"
	switch {
	case own && (name != perVolume || namespace != c.Namespace):
		return fmt.Errorf("%w: with identity: volume, %s must be %s and its namespace %s: there the driver stores the key of each volume; now it is %s/%s",
			errSecretWrong, stage, perVolume, c.Namespace, namespace, name)
	case !own && name == perVolume && namespace == c.Namespace:
		return fmt.Errorf("%w %s of parameter %s is made with identity: volume alone", errSecretWrong, perVolume, stage)
	}
	return nil
}

// placeable completes the checks of warm classes that are right by themselves by whether the cluster has what they name.
func placeable(f *facts, checks []inspect.Check, clusters []inspect.Cluster) []inspect.Check {
	for i, check := range checks {
		at := slices.IndexFunc(f.classes.is, func(s storagev1.StorageClass) bool { return s.Name == check.Subject })
		if check.Result != inspect.OK || at < 0 || f.classes.is[at].Parameters["tier"] != string(volume.Warm) {
			continue
		}
		p := f.classes.is[at].Parameters
		var ids []string
		for _, c := range clusters {
			ids = append(ids, c.ID)
		}
		id := p["clusterID"]
		if id == "" && len(clusters) == 1 {
			id = clusters[0].ID
		}
		switch cluster := slices.Index(ids, id); {
		case id == "" && len(clusters) > 1:
			checks[i].Result, checks[i].Found = inspect.Fail, "clusterID is needed: the controller has the clusters "+strings.Join(ids, ", ")
			checks[i].Fix = fmt.Sprintf("kubectl delete storageclass %s, and make it anew with the parameter", check.Subject)
		case len(clusters) == 0: // which is a finding of its own
			checks[i].Result, checks[i].Found, checks[i].Fix = inspect.Unknown, check.Found+": no cluster could be reached to look for its pool", "see ceph-reachable"
		case cluster < 0: // not configured, or not to be reached, which is a check of its own
			checks[i].Result, checks[i].Found = inspect.Fail, fmt.Sprintf("the controller reaches no cluster %q (it reaches: %s)", id, strings.Join(ids, ", "))
			checks[i].Fix = "correct the class's clusterID or the cluster configuration; see ceph-reachable"
		default:
			checks[i] = clusters[cluster].CheckPlacement(check.Name, check.Subject, p["fsName"], p["pool"])
			checks[i].Found = check.Found + ": " + checks[i].Found
		}
	}
	return checks
}

// snapshotting checks what snapshots need besides the driver.
func (f *facts) snapshotting(tiers Tiers) []inspect.Check {
	crds := inspect.Check{Name: "snapshot-crds", Result: inspect.OK, Found: "VolumeSnapshotClasses are served"}
	if apierrors.IsNotFound(f.snapClasses.err) {
		crds.Result, crds.Found = inspect.Warn, "the API has no VolumeSnapshotClasses of snapshot.storage.k8s.io/v1: there are no snapshots"
		crds.Fix = "apply the CRDs of external-snapshotter (client/config/crd), or install the chart with snapshots.crds"
		return []inspect.Check{crds}
	}
	if f.snapClasses.err != nil {
		return []inspect.Check{unseen(crds, f.snapClasses.err)}
	}
	checks := []inspect.Check{crds, f.snapshotController()}
	for i := range f.snapClasses.is {
		class := &f.snapClasses.is[i]
		check := inspect.Check{Name: "snapshotclass", Subject: class.Name, Result: inspect.OK, Found: "deletionPolicy " + string(class.DeletionPolicy)}
		for key := range own(class.Parameters) {
			if key != "tier" && key != "snapshotNamePrefix" {
				check.Result, check.Found = inspect.Fail, fmt.Sprintf("there is no parameter %q; there are tier and snapshotNamePrefix", key)
				check.Fix = "correct the VolumeSnapshotClass"
			}
		}
		checks = append(checks, check)
	}
	return checks
}

func (f *facts) snapshotController() inspect.Check {
	check := inspect.Check{Name: "snapshot-controller"}
	if f.deployments.err != nil {
		return unseen(check, f.deployments.err)
	}
	for i := range f.deployments.is {
		d := &f.deployments.is[i]
		if !slices.ContainsFunc(d.Spec.Template.Spec.Containers, func(c corev1.Container) bool { return imageName(c.Image) == "snapshot-controller" }) {
			continue
		}
		check.Subject = d.Namespace + "/" + d.Name
		if available(d) {
			check.Result, check.Found = inspect.OK, "available"
			return check
		}
		check.Result, check.Found = inspect.Fail, "not available: no snapshot becomes ready"
		check.Fix = fmt.Sprintf("kubectl -n %s describe deployment %s", d.Namespace, d.Name)
	}
	if check.Result == "" {
		check.Result, check.Found = inspect.Warn, "no Deployment runs an image snapshot-controller: unless something else does its work, no snapshot becomes ready"
		check.Fix = "install the chart with its snapshot-controller, or external-snapshotter's"
	}
	return check
}

func available(d *appsv1.Deployment) bool { return d.Status.AvailableReplicas > 0 }

// patience is how long a claim may wait before it counts as stuck.
const patience = 2 * time.Minute

// pendingClaims finds claims of our classes that nobody fulfils, with what was said of the first.
func (c Clients) pendingClaims(ctx context.Context, f *facts) inspect.Check {
	check := inspect.Check{Name: "claims", Result: inspect.OK, Found: "none waits"}
	for _, err := range []error{f.claims.err, f.classes.err} {
		if err != nil {
			return unseen(check, err)
		}
	}
	waits := map[string]bool{} // by class: for a pod
	for _, s := range f.classes.is {
		waits[s.Name] = s.VolumeBindingMode != nil && *s.VolumeBindingMode == storagev1.VolumeBindingWaitForFirstConsumer
	}
	var stuck []*corev1.PersistentVolumeClaim
	for i := range f.claims.is {
		claim := &f.claims.is[i]
		if claim.Spec.StorageClassName == nil || claim.Status.Phase != corev1.ClaimPending || c.Now().Sub(claim.CreationTimestamp.Time) < patience {
			continue
		}
		forPod, ours := waits[*claim.Spec.StorageClassName]
		if ours && (!forPod || claim.Annotations[selectedNode] != "") {
			stuck = append(stuck, claim)
		}
	}
	if len(stuck) == 0 {
		return check
	}
	first := stuck[0]
	check.Result = inspect.Fail
	check.Found = fmt.Sprintf("%s waits for its volume: %s/%s", plural(len(stuck), "claim"), first.Namespace, first.Name)
	if len(stuck) > 1 {
		check.Found = fmt.Sprintf("%d claims wait for their volumes, such as %s/%s", len(stuck), first.Namespace, first.Name)
	}
	if said := c.lastEvent(ctx, first); said != "" {
		check.Found += ": " + said
	}
	check.Fix = fmt.Sprintf("kubectl -n %s describe pvc %s", first.Namespace, first.Name)
	return check
}

// selectedNode is set by the scheduler when a pod needs the claim.
const selectedNode = "volume.kubernetes.io/selected-node"

func (c Clients) lastEvent(ctx context.Context, claim *corev1.PersistentVolumeClaim) string {
	list, err := c.Kube.CoreV1().Events(claim.Namespace).List(ctx, metav1.ListOptions{FieldSelector: "involvedObject.uid=" + string(claim.UID)})
	if err != nil {
		return ""
	}
	var newest *corev1.Event
	at := func(e *corev1.Event) time.Time {
		if e.LastTimestamp.IsZero() {
			return e.EventTime.Time
		}
		return e.LastTimestamp.Time
	}
	for i := range list.Items {
		e := &list.Items[i]
		if e.Type == corev1.EventTypeWarning && (newest == nil || at(e).After(at(newest))) {
			newest = e
		}
	}
	if newest == nil {
		return ""
	}
	return newest.Message
}
