package kubectl

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/remotecommand"
	"k8s.io/client-go/util/exec"
	"k8s.io/streaming/pkg/httpstream"
)

// remote runs commands through the API server: by WebSocket, or by SPDY where it, or a proxy before it, has no WebSocket.
type remote struct {
	config *rest.Config
	client kubernetes.Interface
}

func (r *remote) Run(ctx context.Context, namespace, pod, container string, command []string) ([]byte, error) {
	url := r.client.CoreV1().RESTClient().Post().Resource("pods").Namespace(namespace).Name(pod).SubResource("exec").VersionedParams(
		&corev1.PodExecOptions{Container: container, Command: command, Stdout: true, Stderr: true}, scheme.ParameterCodec).URL()
	socket, err := remotecommand.NewWebSocketExecutor(r.config, "GET", url.String())
	if err != nil {
		return nil, err
	}
	spdy, err := remotecommand.NewSPDYExecutor(r.config, "POST", url)
	if err != nil {
		return nil, err
	}
	either, err := remotecommand.NewFallbackExecutor(socket, spdy, func(err error) bool {
		return httpstream.IsUpgradeFailure(err) || httpstream.IsHTTPSProxyError(err)
	})
	if err != nil {
		return nil, err
	}
	var out, errs bytes.Buffer
	err = either.StreamWithContext(ctx, remotecommand.StreamOptions{Stdout: &out, Stderr: &errs})
	var code exec.CodeExitError
	if errors.As(err, &code) {
		return nil, fmt.Errorf("%s in pod %s/%s exited with %d: %s", strings.Join(command, " "), namespace, pod, code.Code, strings.TrimSpace(errs.String()))
	}
	if err != nil {
		return nil, fmt.Errorf("run %s in container %s of pod %s/%s: %w", command[0], container, namespace, pod, err)
	}
	return out.Bytes(), nil
}
