// Package events says what the driver tells the users of a volume by itself, in Kubernetes as Events of their Pod or
// PersistentVolumeClaim. What a call answers needs none: kubelet and the sidecars make Events of every error
// (FailedMount, ProvisioningFailed, ...). These are of what happens to a volume between two calls.
package events

import (
	"context"

	"github.com/strata-csi/strata/pkg/tier"
)

// Reason is an Event's reason: fixed, for machines to look for.
type Reason string

// The reasons. docs/metrics.md says what each means to a user, and a test holds the two together.
const (
	// VolumeMountDead: the client behind a mount of tier warm is gone; its pods have I/O errors until they are restarted.
	VolumeMountDead Reason = "VolumeMountDead"
	// VolumeMountNotAnswering: a mount of tier warm doesn't answer; its pods wait.
	VolumeMountNotAnswering Reason = "VolumeMountNotAnswering"
	// VolumeMountAnswers: a mount that didn't answer does again.
	VolumeMountAnswers Reason = "VolumeMountAnswers"
	// VolumeMountRepaired: a dead mount was replaced when a pod was started.
	VolumeMountRepaired Reason = "VolumeMountRepaired"
	// VolumeCredentialsNotRenewed: the credentials of a volume of tier cold can't be renewed; its pods have errors when those that it has end.
	VolumeCredentialsNotRenewed Reason = "VolumeCredentialsNotRenewed"
	// VolumeCredentialsRenewed: they are renewed again.
	VolumeCredentialsRenewed Reason = "VolumeCredentialsRenewed"
	// ScratchDiskFailed: the disk that a scratch volume lies on has failed, or shows errors.
	ScratchDiskFailed Reason = "ScratchDiskFailed"
	// ScratchVolumeUnhealthy: a scratch volume is not as it should be, and its disk is well.
	ScratchVolumeUnhealthy Reason = "ScratchVolumeUnhealthy"
	// ScratchVolumeRecovered: nothing of the two is the case any more.
	ScratchVolumeRecovered Reason = "ScratchVolumeRecovered"
)

// Reasons are all of them, and whether each is a warning.
func Reasons() map[Reason]bool {
	return map[Reason]bool{
		VolumeMountDead: true, VolumeMountNotAnswering: true, VolumeMountAnswers: false, VolumeMountRepaired: false,
		VolumeCredentialsNotRenewed: true, VolumeCredentialsRenewed: false,
		ScratchDiskFailed: true, ScratchVolumeUnhealthy: true, ScratchVolumeRecovered: false,
	}
}

// Recorder tells users. It never blocks and never fails: what can't be told is dropped, and logged.
type Recorder interface {
	// Claim tells those who see the claim of the PersistentVolume with this volume id (CSI's volume_id).
	Claim(ctx context.Context, id string, reason Reason, message string)
	// Pod tells those who see the pod.
	Pod(ctx context.Context, pod tier.Pod, reason Reason, message string)
}

// None tells nobody: there is no Kubernetes API.
type None struct{}

// Claim does nothing.
func (None) Claim(context.Context, string, Reason, string) {}

// Pod does nothing.
func (None) Pod(context.Context, tier.Pod, Reason, string) {}
