package kubectl

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	volumesnapshotv1 "github.com/kubernetes-csi/external-snapshotter/client/v8/apis/volumesnapshot/v1"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/strata-csi/strata/pkg/identity"
	"github.com/strata-csi/strata/pkg/inspect"
	"github.com/strata-csi/strata/pkg/kube"
)

func TestNamesAreTheDrivers(t *testing.T) {
	if driverName != identity.DriverName || startupTaint != kube.StartupTaint || reportLabel != kube.ReportLabel || reportPrefix+"n" != kube.ReportName("n") {
		t.Error("the driver's own packages name them otherwise")
	}
}

func TestDoctorFindsAllWell(t *testing.T) {
	w := newWorld(t)
	w.doctor.Program = ownVersion()
	code, out, stderr := w.run("doctor")
	if code != ExitOK || stderr != "" {
		t.Errorf("exit code %d, %s", code, stderr)
	}
	golden(t, "doctor.txt", strings.ReplaceAll(out, ownVersion(), "VERSION"))
	command := strings.Join(w.commands[0], " ")
	if want := "strata strata-controller-a strata-controller strata-controller inspect doctor --node-user=strata-node --output=json --cluster-config=/etc/strata/other.yaml"; command != want {
		t.Errorf("ran %q,\nwant %q", command, want)
	}
	if strings.Contains(out, "topsecret") {
		t.Error("a key is shown")
	}
}

func TestDoctorFinds(t *testing.T) {
	for _, c := range []struct {
		name   string
		do     func(w *world)
		check  string
		result inspect.Result
		words  []string
	}{
		{"no CSIDriver", func(w *world) { drop[*storagev1.CSIDriver](w, driverName) }, "csidriver", inspect.Fail, []string{"no CSIDriver", "helm upgrade"}},
		{"attachRequired", func(w *world) { object[*storagev1.CSIDriver](w, driverName).Spec.AttachRequired = nil }, "csidriver", inspect.Fail, []string{"attachRequired"}},
		{"podInfoOnMount", func(w *world) { object[*storagev1.CSIDriver](w, driverName).Spec.PodInfoOnMount = nil }, "csidriver", inspect.Fail, []string{"podInfoOnMount"}},
		{"no inline volumes", func(w *world) { object[*storagev1.CSIDriver](w, driverName).Spec.VolumeLifecycleModes = nil }, "csidriver", inspect.Fail, []string{"lacks Ephemeral"}},
		{"seLinuxMount", func(w *world) { object[*storagev1.CSIDriver](w, driverName).Spec.SELinuxMount = ptr(true) }, "csidriver", inspect.Fail, []string{"seLinuxMount"}},
		{"no new credentials", func(w *world) { w.add(coldClass("identity", "volume")) }, "csidriver", inspect.Fail, []string{"requiresRepublish"}},
		{"a cold class without a secret", func(w *world) {
			c := coldClass()
			delete(c.Parameters, kubernetesPrefix+"node-stage-secret-name")
			w.add(c)
		}, "storageclass strata-cold", inspect.Fail, []string{"nothing to mount with"}},
		{"a cold class with a secret for Ceph", func(w *world) {
			w.add(coldClass(), &corev1.Secret{ObjectMeta: inNamespace("s3"), Data: map[string][]byte{"userID": []byte("x")}})
		}, "storageclass strata-cold", inspect.Fail, []string{"no accessKeyID"}},
		{"a cold class whose credentials nobody makes", func(w *world) {
			w.add(coldClass(kubernetesPrefix+"node-stage-secret-name", "${pv.name}"))
		}, "storageclass strata-cold", inspect.Fail, []string{"made with identity: volume alone"}},
		{"no controller", func(w *world) { drop[*appsv1.Deployment](w, controllerName) }, "controller", inspect.Fail, []string{"--namespace"}},
		{"the controller crashes", func(w *world) {
			object[*appsv1.Deployment](w, controllerName).Status.ReadyReplicas = 1
			p := object[*corev1.Pod](w, "strata-controller-b")
			unready(p)
			p.Status.ContainerStatuses = []corev1.ContainerStatus{{Name: controllerName, RestartCount: 4, State: corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: "CrashLoopBackOff"}},
				LastTerminationState: corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{ExitCode: 1}}}}
		}, "controller", inspect.Warn, []string{"1 of 2", "strata-controller-b", "CrashLoopBackOff (exit code 1, 4 restarts)"}},
		{"no provisioner", func(w *world) {
			object[*appsv1.Deployment](w, controllerName).Spec.Template.Spec.Containers[1].Image = "elsewhere/other:v6.3.0"
		}, "sidecars", inspect.Fail, []string{"no csi-provisioner"}},
		{"an old resizer", func(w *world) {
			object[*appsv1.Deployment](w, controllerName).Spec.Template.Spec.Containers[2].Image = "k/csi-resizer:v1.14.0"
		}, "sidecars", inspect.Warn, []string{"csi-resizer v1.14.0 is older than v2.2"}},
		{"no node plugin", func(w *world) { drop[*appsv1.DaemonSet](w, nodeName) }, "node", inspect.Fail, []string{"no such DaemonSet"}},
		{"a node without the plugin", func(w *world) { drop[*corev1.Pod](w, nodeName+"-node-b") }, "node", inspect.Fail, []string{"node-b", "tolerations"}},
		{"a node for nobody", func(w *world) {
			drop[*corev1.Pod](w, nodeName+"-node-b")
			object[*corev1.Node](w, "node-b").Spec.Taints = []corev1.Taint{{Key: "node-role.kubernetes.io/control-plane", Effect: corev1.TaintEffectNoSchedule}}
		}, "node", inspect.OK, []string{"ready on 1 node"}},
		{"a group of nodes with other disks", func(w *world) {
			w.add(daemonSet(nodeName+"-cpu", "node"))
			object[*corev1.Pod](w, nodeName+"-node-b").OwnerReferences[0].Name = nodeName + "-cpu"
			w.add(account(nodeName + "-cpu"))
		}, "node", inspect.OK, []string{"ready on 2 nodes"}},
		{"a holder that isn't ready", func(w *world) { unready(object[*corev1.Pod](w, holderName+"-node-b")) }, "holder", inspect.Fail, []string{"node-b"}},
		{"no holder", func(w *world) { drop[*appsv1.DaemonSet](w, holderName) }, "holder", inspect.Fail, []string{"no such DaemonSet"}},
		{"a holder that is upgraded under pods", func(w *world) {
			object[*appsv1.DaemonSet](w, holderName).Spec.UpdateStrategy.Type = appsv1.RollingUpdateDaemonSetStrategyType
		}, "holder-updates", inspect.Fail, []string{"RollingUpdate", "kubectl -n strata patch daemonset strata-mountd"}},
		{"older holders", func(w *world) {
			object[*appsv1.DaemonSet](w, holderName).Status = appsv1.DaemonSetStatus{CurrentNumberScheduled: 2, UpdatedNumberScheduled: 1}
		}, "holder-updates", inspect.OK, []string{"1 of 2 run an earlier version"}},
		{"a kubelet that doesn't know the driver", func(w *world) { object[*storagev1.CSINode](w, "node-b").Spec.Drivers = nil }, "csinode", inspect.Fail, []string{"node-b", "registration"}},
		{"a node without topology", func(w *world) { object[*storagev1.CSINode](w, "node-b").Spec.Drivers[0].TopologyKeys = nil }, "csinode", inspect.Fail, []string{"node-b", "--topology"}},
		{"a node without its label", func(w *world) { object[*corev1.Node](w, "node-b").Labels = nil }, "csinode", inspect.Fail, []string{"no label"}},
		{"the startup taint stays", func(w *world) {
			object[*corev1.Node](w, "node-b").Spec.Taints = []corev1.Taint{{Key: startupTaint, Effect: corev1.TaintEffectNoSchedule}}
		}, "startup-taint", inspect.Fail, []string{"node-b"}},
		{"the startup taint on a new node", func(w *world) {
			n := object[*corev1.Node](w, "node-b")
			n.Spec.Taints = []corev1.Taint{{Key: startupTaint, Effect: corev1.TaintEffectNoSchedule}}
			n.CreationTimestamp = metav1.NewTime(now.Add(-time.Minute))
		}, "startup-taint", inspect.Warn, []string{"node-b"}},
		{"an account is missing", func(w *world) { drop[*corev1.ServiceAccount](w, nodeName) }, "service-accounts", inspect.Fail, []string{"strata-node runs as"}},
		{"the holder has a token", func(w *world) { object[*corev1.ServiceAccount](w, holderName).AutomountServiceAccountToken = nil }, "service-accounts", inspect.Fail, []string{"token"}},
		{"nodes may read secrets", func(w *world) {
			object[*appsv1.DaemonSet](w, nodeName).Spec.Template.Spec.ServiceAccountName = "too-mighty"
			w.add(account("too-mighty"))
		}, "node-rights", inspect.Fail, []string{"may get secrets"}},
		{"a wrong parameter", func(w *world) { object[*storagev1.StorageClass](w, "strata-warm").Parameters["fsname"] = "x" }, "storageclass strata-warm", inspect.Fail, []string{"no parameter fsname", "kubectl delete storageclass strata-warm"}},
		{"a wrong tier", func(w *world) { object[*storagev1.StorageClass](w, "strata-warm").Parameters["tier"] = "hot" }, "storageclass strata-warm", inspect.Fail, []string{`tier "hot" is not one of warm`}},
		{"a tier of another release", func(w *world) {
			w.add(coldClass(), &corev1.Secret{ObjectMeta: inNamespace("s3"), Data: map[string][]byte{"accessKeyID": []byte("x"), "secretAccessKey": []byte("x")}})
		}, "storageclass strata-cold", inspect.Warn, []string{"doesn't know tier cold"}},
		{"scratch that is bound at once", func(w *world) { object[*storagev1.StorageClass](w, "strata-scratch").VolumeBindingMode = nil }, "storageclass strata-scratch", inspect.Fail, []string{"WaitForFirstConsumer"}},
		{"no secret is named", func(w *world) {
			delete(object[*storagev1.StorageClass](w, "strata-warm").Parameters, "csi.storage.k8s.io/node-stage-secret-name")
		}, "storageclass strata-warm", inspect.Fail, []string{"node-stage-secret-name is missing"}},
		{"the secret isn't there", func(w *world) { drop[*corev1.Secret](w, "strata-warm") }, "storageclass strata-warm", inspect.Fail, []string{"strata/strata-warm", "isn't there"}},
		{"the secret has no key", func(w *world) { delete(object[*corev1.Secret](w, "strata-warm").Data, "userKey") }, "storageclass strata-warm", inspect.Fail, []string{"has no userKey"}},
		{"identities without their secrets", func(w *world) { object[*storagev1.StorageClass](w, "strata-warm").Parameters["identity"] = "volume" }, "storageclass strata-warm", inspect.Fail,
			[]string{"must be ${pv.name}", "strata/strata-warm"}},
		{"identities with their secrets", func(w *world) {
			p := object[*storagev1.StorageClass](w, "strata-warm").Parameters
			p["identity"] = "volume"
			for _, kind := range []string{"node-stage", "node-publish"} {
				p[kubernetesPrefix+kind+"-secret-name"] = "${pv.name}"
			}
		}, "storageclass strata-warm", inspect.OK, nil},
		{"secrets that nobody makes", func(w *world) {
			object[*storagev1.StorageClass](w, "strata-warm").Parameters[kubernetesPrefix+"node-stage-secret-name"] = "${pv.name}"
		}, "storageclass strata-warm", inspect.Fail, []string{"with identity: volume alone"}},
		{"a pool that isn't there", func(w *world) { object[*storagev1.StorageClass](w, "strata-warm").Parameters["pool"] = "nowhere" }, "storageclass strata-warm", inspect.Fail, []string{`no pool "nowhere"`}},
		{"a cluster that isn't there", func(w *world) { object[*storagev1.StorageClass](w, "strata-warm").Parameters["clusterID"] = "far" }, "storageclass strata-warm", inspect.Fail, []string{`no cluster "far"`, "main"}},
		{"no cluster is reached", func(w *world) { w.doctor.Clusters = nil }, "storageclass strata-warm", inspect.Unknown, []string{"ceph-reachable"}},
		{"no classes", func(w *world) { drop[*storagev1.StorageClass](w, "strata-warm", "strata-scratch") }, "storageclass", inspect.Warn, []string{"examples/"}},
		{"no snapshot-controller", func(w *world) { drop[*appsv1.Deployment](w, "snapshot-controller") }, "snapshot-controller", inspect.Warn, []string{"snapshot"}},
		{"a snapshot-controller that is down", func(w *world) { object[*appsv1.Deployment](w, "snapshot-controller").Status.AvailableReplicas = 0 }, "snapshot-controller", inspect.Fail, []string{"kube-system"}},
		{"a wrong parameter of a snapshot class", func(w *world) {
			object[*volumesnapshotv1.VolumeSnapshotClass](w, "strata-warm").Parameters["pool"] = "x"
		}, "snapshotclass", inspect.Fail, []string{`no parameter "pool"`}},
		{"a node that is silent", func(w *world) {
			drop[*corev1.ConfigMap](w, reportPrefix+"node-b")
			w.add(scratchRoom("node-b", gib, now.Add(-time.Hour)))
		}, "scratch-room", inspect.Fail, []string{"node-b"}},
		{"no room", func(w *world) {
			drop[*corev1.ConfigMap](w, reportPrefix+"node-b")
			w.add(scratchRoom("node-b", 0, now))
		}, "scratch-room", inspect.Warn, []string{"no room on node-b"}},
		{"no reports", func(w *world) { drop[*corev1.ConfigMap](w, reportPrefix+"node-a", reportPrefix+"node-b") }, "scratch-room", inspect.Warn, []string{"--scratch-config"}},
		{"a claim that waits", func(w *world) {
			w.add(&corev1.PersistentVolumeClaim{ObjectMeta: metav1.ObjectMeta{Name: "data", Namespace: "vision", UID: "u1", CreationTimestamp: metav1.NewTime(now.Add(-time.Hour))},
				Spec: corev1.PersistentVolumeClaimSpec{StorageClassName: ptr("strata-warm")}, Status: corev1.PersistentVolumeClaimStatus{Phase: corev1.ClaimPending}},
				&corev1.Event{ObjectMeta: metav1.ObjectMeta{Name: "e", Namespace: "vision"}, Type: corev1.EventTypeWarning, Message: "no pool for you", InvolvedObject: corev1.ObjectReference{UID: "u1"}})
		}, "claims", inspect.Fail, []string{"vision/data", "no pool for you"}},
		{"a claim that waits for a pod", func(w *world) {
			w.add(&corev1.PersistentVolumeClaim{ObjectMeta: metav1.ObjectMeta{Name: "tmp", Namespace: "vision", CreationTimestamp: metav1.NewTime(now.Add(-time.Hour))},
				Spec: corev1.PersistentVolumeClaimSpec{StorageClassName: ptr("strata-scratch")}, Status: corev1.PersistentVolumeClaimStatus{Phase: corev1.ClaimPending}})
		}, "claims", inspect.OK, nil},
		{"another release", func(w *world) { w.doctor.Program = "v9.9.9" }, "version", inspect.Warn, []string{"v9.9.9"}},
		{"the controller can't be asked", func(w *world) { w.err = errors.New("pods/exec is forbidden") }, "ceph", inspect.Unknown, []string{"pods/exec is forbidden"}},
		{"a document of another release", func(w *world) { w.doctor.APIVersion = "inspect.csi.strata.dev/v9" }, "ceph", inspect.Unknown, []string{"v9", "release"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t)
			w.doctor.Program = ownVersion()
			c.do(w)
			code, out, stderr := w.run("doctor", "-o", "json")
			var d Diagnosis
			if err := json.Unmarshal([]byte(out), &d); err != nil {
				t.Fatalf("%v: %s, %s", err, out, stderr)
			}
			var got *inspect.Check
			for i, check := range d.Checks {
				if check.Name == c.check || check.Name+" "+check.Subject == c.check {
					got = &d.Checks[i]
				}
			}
			if got == nil {
				t.Fatalf("no check %s in %s", c.check, out)
			}
			if got.Result != c.result {
				t.Errorf("%s: %s, want %s", got.Result, got.Found, c.result)
			}
			for _, word := range c.words {
				if !strings.Contains(got.Found+"\n"+got.Fix, word) {
					t.Errorf("%q isn't said: %s; fix: %s", word, got.Found, got.Fix)
				}
			}
			if c.result != inspect.OK && got.Fix == "" {
				t.Error("nothing is said of how to mend it")
			}
			want := map[inspect.Result]int{inspect.OK: ExitOK, inspect.Warn: ExitOK, inspect.Fail: ExitFound, inspect.Unknown: ExitNotSeen}[c.result]
			if code != want {
				t.Errorf("exit code %d, want %d", code, want)
			}
		})
	}
}

// coldClass is a class of tier cold with the secret "s3"; more are parameters, name and value by turns.
func coldClass(more ...string) *storagev1.StorageClass {
	p := map[string]string{"tier": "cold", "endpoint": "https://s3.example.com", "bucket": "strata",
		kubernetesPrefix + "node-stage-secret-name": "s3", kubernetesPrefix + "node-stage-secret-namespace": "strata"}
	for i := 0; i < len(more); i += 2 {
		p[more[i]] = more[i+1]
	}
	return &storagev1.StorageClass{ObjectMeta: meta("strata-cold"), Provisioner: driverName, Parameters: p}
}
