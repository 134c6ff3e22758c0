//go:build e2e

package e2e

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/tools/remotecommand"
)

// image is what the pods of the tests run: a shell and the usual small tools. hack/kube makes it.
const image = "registry.k8s.io/e2e-test-images/busybox:1.37.0-1"

// mount is a volume of a pod and where the pod has it.
type mount struct {
	volume   corev1.VolumeSource
	at       string
	sub      string
	readOnly bool
}

// claimed is the volume of a claim.
func claimed(claim, at string) mount {
	return mount{at: at, volume: corev1.VolumeSource{PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: claim}}}
}

// inline is a scratch volume in the pod's own specification.
func inline(class, size, at string) mount {
	return mount{at: at, volume: corev1.VolumeSource{CSI: &corev1.CSIVolumeSource{
		Driver: driverName, VolumeAttributes: map[string]string{"class": class, "size": size},
	}}}
}

// generic is a volume whose claim comes and goes with the pod.
func generic(class, size, at string) mount {
	spec := claimSpec(class, size, corev1.ReadWriteOnce)
	return mount{at: at, volume: corev1.VolumeSource{Ephemeral: &corev1.EphemeralVolumeSource{
		VolumeClaimTemplate: &corev1.PersistentVolumeClaimTemplate{Spec: spec},
	}}}
}

// idle does nothing, and ends when it is told to.
var idle = []string{"sh", "-c", "trap 'exit 0' TERM; while :; do sleep 1 & wait $!; done"}

// pod is one that does nothing, with volumes, on a node or on any (""). The test may change it before it starts it.
func (s *space) pod(name, node string, mounts ...mount) *corev1.Pod {
	no, grace := false, int64(5)
	p := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: s.name},
		Spec: corev1.PodSpec{
			RestartPolicy: corev1.RestartPolicyNever, AutomountServiceAccountToken: &no, TerminationGracePeriodSeconds: &grace,
			EnableServiceLinks: &no,
			Containers:         []corev1.Container{{Name: "main", Image: image, ImagePullPolicy: corev1.PullIfNotPresent, Command: idle}},
		},
	}
	if node != "" {
		p.Spec.NodeSelector = map[string]string{corev1.LabelHostname: node}
	}
	for i, m := range mounts {
		volume := fmt.Sprintf("v%d", i)
		p.Spec.Volumes = append(p.Spec.Volumes, corev1.Volume{Name: volume, VolumeSource: m.volume})
		p.Spec.Containers[0].VolumeMounts = append(p.Spec.Containers[0].VolumeMounts,
			corev1.VolumeMount{Name: volume, MountPath: m.at, SubPath: m.sub, ReadOnly: m.readOnly})
	}
	return p
}

// running is a pod that was ready.
type running struct {
	s    *space
	name string
	uid  string
	node string
	// container is the first one.
	container string
}

// run makes a pod of mounts and waits until it is ready.
func (s *space) run(name, node string, mounts ...mount) *running {
	s.Helper()
	return s.start(s.pod(name, node, mounts...))
}

// start makes a pod and waits until it is ready.
func (s *space) start(p *corev1.Pod) *running {
	s.Helper()
	s.create(p)
	return s.ready(p.Name)
}

// ready waits until a pod is ready.
func (s *space) ready(name string) *running {
	s.Helper()
	var pod *corev1.Pod
	s.wait("pod "+name+" is ready", patience, func(ctx context.Context) (err error) {
		if pod, err = k.client.CoreV1().Pods(s.name).Get(ctx, name, metav1.GetOptions{}); err != nil {
			return err
		}
		return readiness(pod)
	})
	return &running{s: s, name: name, uid: string(pod.UID), node: pod.Spec.NodeName, container: pod.Spec.Containers[0].Name}
}

// readiness is nil for a pod that is ready, and says what it waits for otherwise.
func readiness(pod *corev1.Pod) error {
	for _, c := range pod.Status.ContainerStatuses {
		if w := c.State.Waiting; w != nil && (w.Reason == "ErrImageNeverPull" || w.Reason == "ImagePullBackOff" || w.Reason == "InvalidImageName") {
			return hopeless{fmt.Errorf("container %s: %s: %s", c.Name, w.Reason, w.Message)}
		}
	}
	if pod.Status.Phase == corev1.PodFailed || pod.Status.Phase == corev1.PodSucceeded {
		return hopeless{fmt.Errorf("the pod has ended: %s %s", pod.Status.Phase, pod.Status.Message)}
	}
	for _, c := range pod.Status.Conditions {
		if c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue {
			return nil
		}
	}
	return fmt.Errorf("it is %s%s", pod.Status.Phase, unmet(pod))
}

func unmet(pod *corev1.Pod) string {
	var b strings.Builder
	for _, c := range pod.Status.Conditions {
		if c.Status != corev1.ConditionTrue && c.Type != corev1.PodReady && c.Type != corev1.ContainersReady {
			fmt.Fprintf(&b, ", not %s: %s %s", c.Type, c.Reason, c.Message)
		}
	}
	for _, c := range pod.Status.ContainerStatuses {
		if w := c.State.Waiting; w != nil {
			fmt.Fprintf(&b, ", container %s waits: %s %s", c.Name, w.Reason, w.Message)
		}
	}
	return b.String()
}

// remove deletes a pod and waits until kubelet has let go of it.
func (p *running) remove() {
	p.s.Helper()
	p.delete()
	p.gone()
}

func (p *running) delete() {
	p.s.Helper()
	if err := k.client.CoreV1().Pods(p.s.name).Delete(p.s.ctx, p.name, metav1.DeleteOptions{}); err != nil {
		p.s.Fatal(err)
	}
}

func (p *running) gone() {
	p.s.Helper()
	p.s.wait("pod "+p.name+" is gone", patience, func(ctx context.Context) error {
		pod, err := k.client.CoreV1().Pods(p.s.name).Get(ctx, p.name, metav1.GetOptions{})
		if apierrors.IsNotFound(err) || err == nil && string(pod.UID) != p.uid {
			return nil
		}
		if err == nil {
			err = fmt.Errorf("it is still there, %s", pod.Status.Phase)
		}
		return err
	})
}

// sh runs a shell script in the pod, which must succeed, and returns what it printed.
func (p *running) sh(script string) string {
	p.s.Helper()
	out, err := p.try(script)
	if err != nil {
		p.s.Fatalf("in pod %s: %s: %v\n%s", p.name, script, err, out)
	}
	return strings.TrimSpace(out)
}

// fails runs a shell script in the pod, which must fail and say one of the things given.
func (p *running) fails(script string, says ...string) {
	p.s.Helper()
	out, err := p.try(script)
	if err == nil {
		p.s.Fatalf("in pod %s: %s: succeeded; it should have said %q\n%s", p.name, script, says, out)
	}
	for _, text := range says {
		if strings.Contains(out, text) {
			return
		}
	}
	p.s.Fatalf("in pod %s: %s: it should have said one of %q, and said: %v\n%s", p.name, script, says, err, out)
}

// try runs a shell script in the pod and returns what it printed, errors included.
func (p *running) try(script string) (string, error) {
	ctx, cancel := context.WithTimeout(p.s.ctx, 2*time.Minute)
	defer cancel()
	return k.exec(ctx, p.s.name, p.name, p.container, "sh", "-c", script)
}

// exec runs a program in a container.
func (c *cluster) exec(ctx context.Context, namespace, pod, container string, args ...string) (string, error) {
	url := c.client.CoreV1().RESTClient().Post().Resource("pods").Namespace(namespace).Name(pod).SubResource("exec").
		VersionedParams(&corev1.PodExecOptions{Container: container, Command: args, Stdout: true, Stderr: true}, scheme.ParameterCodec).URL()
	e, err := remotecommand.NewWebSocketExecutor(c.config, "GET", url.String())
	if err != nil {
		return "", err
	}
	// Two streams are two writers at once.
	var out, errs bytes.Buffer
	err = e.StreamWithContext(ctx, remotecommand.StreamOptions{Stdout: &out, Stderr: &errs})
	return out.String() + errs.String(), err
}

// claimSpec asks for a volume of a class.
func claimSpec(class, size string, mode corev1.PersistentVolumeAccessMode) corev1.PersistentVolumeClaimSpec {
	return corev1.PersistentVolumeClaimSpec{
		StorageClassName: &class, AccessModes: []corev1.PersistentVolumeAccessMode{mode},
		Resources: corev1.VolumeResourceRequirements{Requests: corev1.ResourceList{corev1.ResourceStorage: resource.MustParse(size)}},
	}
}

// claim makes a claim.
func (s *space) claim(name, class, size string, mode corev1.PersistentVolumeAccessMode) *corev1.PersistentVolumeClaim {
	s.Helper()
	c := &corev1.PersistentVolumeClaim{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: s.name}, Spec: claimSpec(class, size, mode)}
	s.create(c)
	return c
}

// bound waits until a claim is bound and returns its volume.
func (s *space) bound(claim string) *corev1.PersistentVolume {
	s.Helper()
	var name string
	s.wait("claim "+claim+" is bound", patience, func(ctx context.Context) error {
		c, err := k.client.CoreV1().PersistentVolumeClaims(s.name).Get(ctx, claim, metav1.GetOptions{})
		if err != nil {
			return err
		}
		if name = c.Spec.VolumeName; c.Status.Phase != corev1.ClaimBound {
			return fmt.Errorf("it is %s; %s", c.Status.Phase, k.lastEvent(ctx, s.name, claim))
		}
		return nil
	})
	v, err := k.client.CoreV1().PersistentVolumes().Get(s.ctx, name, metav1.GetOptions{})
	if err != nil {
		s.Fatal(err)
	}
	return v
}

// event waits for an event of an object that says all the words, and returns its message.
func (s *space) event(object string, words ...string) string {
	s.Helper()
	var message string
	s.wait(fmt.Sprintf("an event of %s that says %q", object, words), patience, func(ctx context.Context) error {
		list, err := k.client.CoreV1().Events(s.name).List(ctx, metav1.ListOptions{})
		if err != nil {
			return err
		}
		var seen []string
		for _, e := range list.Items {
			if e.InvolvedObject.Name != object {
				continue
			}
			all := true
			for _, w := range words {
				all = all && strings.Contains(e.Reason+" "+e.Message, w)
			}
			if all {
				message = e.Message
				return nil
			}
			seen = append(seen, e.Reason+": "+e.Message)
		}
		return errors.New("events: " + strings.Join(seen, "; "))
	})
	return message
}

func (c *cluster) lastEvent(ctx context.Context, namespace, object string) string {
	list, err := c.client.CoreV1().Events(namespace).List(ctx, metav1.ListOptions{})
	if err != nil {
		return err.Error()
	}
	last := "no event"
	for _, e := range list.Items {
		if e.InvolvedObject.Name == object {
			last = e.Reason + ": " + e.Message
		}
	}
	return last
}
