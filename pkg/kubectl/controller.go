package kubectl

// Asking strata-controller in its container.

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/strata-csi/strata/pkg/inspect"
)

// Names of the deployed objects.
const (
	driverName     = "csi.strata.dev"
	controllerName = "strata-controller"
	nodeName       = "strata-node"
	holderName     = "strata-mountd"
)

// errNoController: there is none to ask.
var errNoController = errors.New("no controller can be asked")

// inspect runs `strata-controller inspect` in a pod of the controller and decodes its answer.
func (c Clients) inspect(ctx context.Context, into any, kind string, args ...string) error {
	pod, container, err := c.controllerPod(ctx, "")
	if err != nil {
		return err
	}
	raw, err := c.Exec.Run(ctx, c.Namespace, pod, container.Name, slices.Concat([]string{programOf(container), "inspect"}, args,
		[]string{"--output=json"}, c.flags(pod, container, "--cluster-config")))
	if err != nil {
		return err
	}
	return decodeInspect(raw, into, kind)
}

// change runs one of the controller's programs that change something, with its configuration: revoke, rotate, fence.
func (c Clients) change(ctx context.Context, program string, args ...string) ([]byte, error) {
	return c.changeFrom(ctx, "", program, args...)
}

// changeFrom is change in a pod that isn't on a node; "": on any.
func (c Clients) changeFrom(ctx context.Context, notOn, program string, args ...string) ([]byte, error) {
	pod, container, err := c.controllerPod(ctx, notOn)
	if err != nil {
		return nil, err
	}
	return c.Exec.Run(ctx, c.Namespace, pod, container.Name, slices.Concat([]string{programOf(container), program}, args,
		c.flags(pod, container, "--cluster-config", "--kubeconfig", "--namespace")))
}

// controllerPod is a pod in which the controller can be asked, not on a node if one is named, and the container.
func (c Clients) controllerPod(ctx context.Context, notOn string) (string, corev1.Container, error) {
	d, err := c.Kube.AppsV1().Deployments(c.Namespace).Get(ctx, controllerName, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return "", corev1.Container{}, fmt.Errorf("%w: there is no Deployment %s in namespace %s; is the driver deployed, and elsewhere? see --namespace", errNoController, controllerName, c.Namespace)
	}
	if err != nil {
		return "", corev1.Container{}, fmt.Errorf("%w: %w", errNoController, err)
	}
	pod, err := c.runningPod(ctx, d, notOn)
	if err != nil {
		return "", corev1.Container{}, err
	}
	container, err := controllerContainer(pod)
	return pod.Name, container, err
}

func decodeInspect(raw []byte, into any, kind string) error {
	var h inspect.Header
	if err := json.Unmarshal(raw, &h); err != nil {
		return fmt.Errorf("what strata-controller inspect answers is no document of it: %w", err)
	}
	if h.APIVersion != inspect.APIVersion || h.Kind != kind {
		return fmt.Errorf("strata-controller %s answers with %s %s, and this kubectl-strata knows %s %s: use the one of the controller's release",
			h.Program, h.APIVersion, h.Kind, inspect.APIVersion, kind)
	}
	return json.Unmarshal(raw, into)
}

// runningPod returns a pod of a Deployment in which the controller runs: a ready one if there is any. One that isn't ready can be asked
// too; that it can't reach Ceph may be just why it isn't.
func (c Clients) runningPod(ctx context.Context, d *appsv1.Deployment, notOn string) (*corev1.Pod, error) {
	pods, err := c.Kube.CoreV1().Pods(c.Namespace).List(ctx, metav1.ListOptions{LabelSelector: metav1.FormatLabelSelector(d.Spec.Selector)})
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errNoController, err)
	}
	var running *corev1.Pod
	for i := range pods.Items {
		switch p := &pods.Items[i]; {
		case p.DeletionTimestamp != nil, notOn != "" && p.Spec.NodeName == notOn:
		case podReady(p):
			return p, nil
		case slices.ContainsFunc(p.Status.ContainerStatuses, func(s corev1.ContainerStatus) bool { return s.Name == controllerName && s.State.Running != nil }):
			running = p
		}
	}
	if running == nil && notOn != "" {
		return nil, fmt.Errorf("%w: the controller runs in no pod of Deployment %s/%s that isn't on node %s, and there it would shut itself out: "+
			"kubectl cordon %s, delete the pod and wait until it runs elsewhere", errNoController, c.Namespace, d.Name, notOn, notOn)
	}
	if running == nil {
		return nil, fmt.Errorf("%w: the controller runs in no pod of Deployment %s/%s; see `kubectl -n %s get pods`", errNoController, c.Namespace, d.Name, c.Namespace)
	}
	return running, nil
}

func podReady(p *corev1.Pod) bool {
	return slices.ContainsFunc(p.Status.Conditions, func(c corev1.PodCondition) bool { return c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue })
}

func controllerContainer(p *corev1.Pod) (corev1.Container, error) {
	for _, c := range p.Spec.Containers {
		if c.Name == controllerName {
			return c, nil
		}
	}
	return corev1.Container{}, fmt.Errorf("%w: pod %s has no container %s", errNoController, p.Name, controllerName)
}

// programOf is the path of the controller's program: that of the image unless the pod names another.
func programOf(c corev1.Container) string {
	if len(c.Command) > 0 && path.Base(c.Command[0]) == controllerName {
		return c.Command[0]
	}
	return controllerName
}

// flags are those of names with which the container was started; the others have their defaults.
func (c Clients) flags(pod string, container corev1.Container, names ...string) (flags []string) {
	args := slices.Concat(container.Command, container.Args)
	for _, name := range names {
		for i, a := range args {
			switch {
			case strings.HasPrefix(a, name+"="):
			case a == name && i+1 < len(args):
				a += "=" + args[i+1]
			default:
				continue
			}
			flags = append(flags, c.expand(pod, container, a))
			break
		}
	}
	return flags
}

// expand does what kubelet does with $(NAME) in a container's arguments, for what doesn't come from a Secret or ConfigMap.
func (c Clients) expand(pod string, container corev1.Container, arg string) string {
	for _, e := range container.Env {
		value := e.Value
		if e.ValueFrom != nil {
			switch ref := e.ValueFrom.FieldRef; {
			case ref != nil && ref.FieldPath == "metadata.namespace":
				value = c.Namespace
			case ref != nil && ref.FieldPath == "metadata.name":
				value = pod
			default:
				continue
			}
		}
		arg = strings.ReplaceAll(arg, "$("+e.Name+")", value)
	}
	return arg
}
