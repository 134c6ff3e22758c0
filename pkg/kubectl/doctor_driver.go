package kubectl

// Checks of the driver's own objects.

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"

	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/strata-csi/strata/pkg/inspect"
	"github.com/strata-csi/strata/pkg/volume"
)

// deployFix is what mends an object that isn't as the chart makes it.
const deployFix = "deploy the chart of this release again: helm upgrade"

// csiDriver checks the object that tells Kubernetes how to treat the driver.
func (f *facts) csiDriver() inspect.Check {
	check := inspect.Check{Name: "csidriver", Subject: driverName}
	if apierrors.IsNotFound(f.driver.err) {
		check.Result, check.Found, check.Fix = inspect.Fail, "there is no CSIDriver object", deployFix
		return check
	}
	if f.driver.err != nil {
		return unseen(check, f.driver.err)
	}
	spec := f.driver.is.Spec
	var wrong []string
	if spec.AttachRequired == nil || *spec.AttachRequired { // the default is true
		wrong = append(wrong, "attachRequired isn't false: pods wait for an attachment that nobody makes. It can't be changed: delete the object first")
	}
	if spec.PodInfoOnMount == nil || !*spec.PodInfoOnMount {
		wrong = append(wrong, "podInfoOnMount isn't true: inline scratch volumes are refused")
	}
	for _, mode := range []storagev1.VolumeLifecycleMode{storagev1.VolumeLifecyclePersistent, storagev1.VolumeLifecycleEphemeral} {
		if !slices.Contains(spec.VolumeLifecycleModes, mode) && (mode != storagev1.VolumeLifecyclePersistent || len(spec.VolumeLifecycleModes) > 0) {
			wrong = append(wrong, fmt.Sprintf("volumeLifecycleModes lacks %s", mode))
		}
	}
	if spec.SELinuxMount != nil && *spec.SELinuxMount {
		wrong = append(wrong, "seLinuxMount isn't false: kubelet would mount with an option that the tiers refuse")
	}
	scratch := slices.ContainsFunc(f.classes.is, func(s storagev1.StorageClass) bool { return s.Parameters["tier"] == "scratch" })
	if scratch && (spec.StorageCapacity == nil || !*spec.StorageCapacity) {
		wrong = append(wrong, "storageCapacity isn't true: the scheduler doesn't see where scratch volumes fit")
	}
	renewed := slices.ContainsFunc(f.classes.is, func(s storagev1.StorageClass) bool {
		return s.Parameters["tier"] == string(volume.Cold) && s.Parameters["identity"] == "volume"
	})
	if renewed && (spec.RequiresRepublish == nil || !*spec.RequiresRepublish) {
		wrong = append(wrong, "requiresRepublish isn't true: nodes get no new credentials of cold volumes with identity: volume, and those that they have end")
	}
	check.Result, check.Found = inspect.OK, "as the driver needs it"
	if len(wrong) > 0 {
		check.Result, check.Found, check.Fix = inspect.Fail, strings.Join(wrong, "; "), deployFix
	}
	return check
}

// sidecars are the versions that the driver is tested with.
var sidecars = []struct {
	name         string
	major, minor int
	needed       bool
	without      string
}{
	{"csi-provisioner", 6, 3, true, "no volume is made"},
	{"csi-resizer", 2, 2, false, "no volume is grown"},
	{"csi-snapshotter", 8, 6, false, "no snapshot is taken"},
}

// deployment checks the controller and its sidecars.
func (c Clients) deployment(f *facts) []inspect.Check {
	check := inspect.Check{Name: "controller", Subject: c.Namespace + "/" + controllerName}
	d := f.controller.is
	if apierrors.IsNotFound(f.controller.err) {
		check.Result, check.Found = inspect.Fail, "there is no such Deployment"
		check.Fix = "deploy the chart, or say with --namespace where it is"
		return []inspect.Check{check}
	}
	if f.controller.err != nil {
		return []inspect.Check{unseen(check, f.controller.err)}
	}
	want := int32(1)
	if d.Spec.Replicas != nil {
		want = *d.Spec.Replicas
	}
	ready := d.Status.ReadyReplicas
	check.Result, check.Found = inspect.OK, fmt.Sprintf("%d of %d replicas are ready", ready, want)
	if ready < want || want == 0 {
		check.Result = inspect.Warn
		if ready == 0 {
			check.Result = inspect.Fail
		}
		check.Found += f.why(d.Spec.Selector)
		check.Fix = fmt.Sprintf("kubectl -n %s describe pods -l '%s'", c.Namespace, metav1.FormatLabelSelector(d.Spec.Selector))
		if want == 0 {
			check.Fix = fmt.Sprintf("kubectl -n %s scale deployment %s --replicas=2", c.Namespace, controllerName)
		}
	}
	side := inspect.Check{Name: "sidecars", Subject: check.Subject, Result: inspect.OK, Fix: deployFix}
	var have, wrong []string
	worst := inspect.OK
	for _, s := range sidecars {
		i := slices.IndexFunc(d.Spec.Template.Spec.Containers, func(c corev1.Container) bool { return imageName(c.Image) == s.name })
		if i < 0 {
			wrong = append(wrong, fmt.Sprintf("there is no %s: %s", s.name, s.without))
			worst = worse(worst, inspect.Warn)
			if s.needed {
				worst = inspect.Fail
			}
			continue
		}
		tag := imageTag(d.Spec.Template.Spec.Containers[i].Image)
		have = append(have, strings.TrimSpace(s.name+" "+tag))
		major, minor, ok := release(tag)
		if ok && (major < s.major || major == s.major && minor < s.minor) {
			wrong = append(wrong, fmt.Sprintf("%s %s is older than v%d.%d, which this release is tested with", s.name, tag, s.major, s.minor))
			worst = worse(worst, inspect.Warn)
		}
	}
	side.Result, side.Found = worst, strings.Join(have, ", ")
	if worst == inspect.OK {
		side.Fix = ""
	} else {
		side.Found = strings.Join(wrong, "; ")
	}
	return []inspect.Check{check, side}
}

func worse(a, b inspect.Result) inspect.Result {
	if a == inspect.Fail {
		return a
	}
	return b
}

// imageName is the last part of an image's name without tag and digest.
func imageName(image string) string {
	image, _, _ = strings.Cut(image, "@")
	image = image[strings.LastIndexByte(image, '/')+1:]
	name, _, _ := strings.Cut(image, ":")
	return name
}

func imageTag(image string) string {
	image, _, _ = strings.Cut(image, "@")
	image = image[strings.LastIndexByte(image, '/')+1:]
	_, tag, _ := strings.Cut(image, ":")
	return tag
}

// release reads v6.3.0; other tags say nothing.
func release(tag string) (major, minor int, ok bool) {
	parts := strings.SplitN(strings.TrimPrefix(tag, "v"), ".", 3)
	if len(parts) < 2 {
		return 0, 0, false
	}
	major, err := strconv.Atoi(parts[0])
	if err != nil {
		return 0, 0, false
	}
	minor, err = strconv.Atoi(parts[1])
	return major, minor, err == nil
}

// why says what keeps the pods of a selector from being ready.
func (f *facts) why(selector *metav1.LabelSelector) string {
	s, err := metav1.LabelSelectorAsSelector(selector)
	if err != nil {
		return ""
	}
	var reasons []string
	for i := range f.pods.is {
		p := &f.pods.is[i]
		if s.Matches(labelsOf(p)) && !podReady(p) {
			reasons = append(reasons, p.Name+": "+podTrouble(p))
		}
	}
	if len(reasons) == 0 {
		return ""
	}
	return "; " + some(reasons)
}

// podTrouble is the reason that a pod isn't ready, as far as its status knows.
func podTrouble(p *corev1.Pod) string {
	for _, s := range slices.Concat(p.Status.InitContainerStatuses, p.Status.ContainerStatuses) {
		if w := s.State.Waiting; w != nil && w.Reason != "" && w.Reason != "ContainerCreating" && w.Reason != "PodInitializing" {
			text := fmt.Sprintf("container %s %s", s.Name, w.Reason)
			if last := s.LastTerminationState.Terminated; last != nil {
				text += fmt.Sprintf(" (exit code %d, %d restarts)", last.ExitCode, s.RestartCount)
			} else if w.Message != "" {
				text += ": " + w.Message
			}
			return text
		}
	}
	for _, c := range p.Status.Conditions {
		if c.Type == corev1.PodScheduled && c.Status == corev1.ConditionFalse {
			return "isn't scheduled: " + c.Message
		}
	}
	for _, s := range p.Status.ContainerStatuses {
		if !s.Ready && s.State.Running != nil {
			return fmt.Sprintf("container %s runs and its probe says that it isn't ready", s.Name)
		}
	}
	return "is " + strings.ToLower(string(p.Status.Phase))
}

// serviceAccounts checks that each part of the driver has the rights that it should, and no more.
func (c Clients) serviceAccounts(ctx context.Context, f *facts) []inspect.Check {
	check := inspect.Check{Name: "service-accounts", Result: inspect.OK, Fix: deployFix}
	if f.accounts.err != nil {
		return []inspect.Check{unseen(check, f.accounts.err)}
	}
	templates := map[string]*corev1.PodTemplateSpec{}
	if f.controller.err == nil {
		templates[controllerName] = &f.controller.is.Spec.Template
	}
	for i := range f.node.is {
		templates[f.node.is[i].Name] = &f.node.is[i].Spec.Template
	}
	if f.holder.err == nil {
		templates[holderName] = &f.holder.is.Spec.Template
	}
	var wrong []string
	for name, template := range templates {
		i := slices.IndexFunc(f.accounts.is, func(a corev1.ServiceAccount) bool { return a.Name == accountOf(template) })
		if i < 0 {
			wrong = append(wrong, fmt.Sprintf("%s runs as ServiceAccount %s, which isn't there", name, accountOf(template)))
			continue
		}
		if name == holderName && mounted(template, f.accounts.is[i]) {
			wrong = append(wrong, fmt.Sprintf("%s gets a token, which it doesn't need: automountServiceAccountToken isn't false", name))
		}
	}
	slices.Sort(wrong)
	check.Found = "all there"
	if len(wrong) > 0 {
		check.Result, check.Found = inspect.Fail, strings.Join(wrong, "; ")
	} else {
		check.Fix = ""
	}
	checks := []inspect.Check{check}
	if len(f.node.is) > 0 && len(wrong) == 0 {
		checks = append(checks, c.noSecrets(ctx, accountOf(&f.node.is[0].Spec.Template)))
	}
	return checks
}

// noSecrets asks whether the nodes' ServiceAccount may read secrets: whoever takes over a node would have them all.
func (c Clients) noSecrets(ctx context.Context, account string) inspect.Check {
	check := inspect.Check{Name: "node-rights", Subject: "ServiceAccount " + account}
	for _, verb := range []string{"get", "list"} {
		for _, ns := range []string{"", c.Namespace} { // "": all of them
			answer, err := c.Kube.AuthorizationV1().SubjectAccessReviews().Create(ctx, &authorizationv1.SubjectAccessReview{Spec: authorizationv1.SubjectAccessReviewSpec{
				User:               "system:serviceaccount:" + c.Namespace + ":" + account,
				Groups:             []string{"system:serviceaccounts", "system:serviceaccounts:" + c.Namespace, "system:authenticated"},
				ResourceAttributes: &authorizationv1.ResourceAttributes{Namespace: ns, Verb: verb, Resource: "secrets"},
			}}, metav1.CreateOptions{})
			if err != nil {
				return unseen(check, err)
			}
			if answer.Status.Allowed {
				check.Result, check.Found = inspect.Fail, fmt.Sprintf("may %s secrets: whoever takes over a node has them", verb)
				check.Fix = fmt.Sprintf("take the right away; kubectl auth can-i --list --as=system:serviceaccount:%s:%s -n %s", c.Namespace, account, c.Namespace)
				return check
			}
		}
	}
	check.Result, check.Found = inspect.OK, "may read no secret"
	return check
}

func accountOf(t *corev1.PodTemplateSpec) string {
	if t.Spec.ServiceAccountName == "" {
		return "default"
	}
	return t.Spec.ServiceAccountName
}

// mounted says whether pods get the account's token.
func mounted(t *corev1.PodTemplateSpec, a corev1.ServiceAccount) bool {
	if auto := t.Spec.AutomountServiceAccountToken; auto != nil {
		return *auto
	}
	return a.AutomountServiceAccountToken == nil || *a.AutomountServiceAccountToken
}
