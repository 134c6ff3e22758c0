package scratch

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// KubeletDir learns from kubelet's own directory (--root-dir, /var/lib/kubelet) which pods are on the node: kubelet makes pods/UID before
// it publishes a volume and removes it after the last volume of the pod is gone. A pod that was deleted while kubelet
// was down may keep its directory for ever (kubernetes#127229); its volumes are found when the machine was started anew since.
type KubeletDir string

// Pods returns the UIDs of the pods that have a directory. A directory without any is an error: a node has pods, this driver's among them,
// so more likely it isn't kubelet's.
func (k KubeletDir) Pods(context.Context) (map[string]bool, error) {
	dir := filepath.Join(string(k), "pods")
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("kubelet's pods: %w", err)
	}
	if len(entries) == 0 {
		return nil, errors.New("kubelet's pods: " + dir + " is empty; is it kubelet's directory, and mounted into this container?")
	}
	pods := make(map[string]bool, len(entries))
	for _, e := range entries {
		pods[e.Name()] = true
	}
	return pods, nil
}
