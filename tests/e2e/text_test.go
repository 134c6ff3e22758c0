//go:build e2e

package e2e

import (
	"crypto/sha256"
	"fmt"
	"strings"
)

// named puts a name into every %s of a script.
func named(script, name string) string { return strings.ReplaceAll(script, "%s", name) }

func trim(s string) string { return strings.TrimSpace(s) }

// stagingHash is the name of the directory where kubelet has a volume staged: pkg/volume/csi/csi_attacher.go of Kubernetes.
func stagingHash(handle string) string { return fmt.Sprintf("%x", sha256.Sum256([]byte(handle))) }
