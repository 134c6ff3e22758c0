// Package kubeevents makes Kubernetes Events of what pkg/events tells.
package kubeevents

import (
	"context"
	"fmt"
	"time"

	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/record"
	"k8s.io/klog/v2"

	"github.com/strata-csi/strata/pkg/events"
	"github.com/strata-csi/strata/pkg/tier"
)

const (
	// waiting is how many Events may wait for the API; those that come then are dropped.
	waiting = 100
	// askTime bounds one question to the API.
	askTime = 30 * time.Second
	// longest is the limit of the API for a message, in bytes (validation of core/v1 Events).
	longest = 1024
)

// Recorder is an events.Recorder. Equal Events of one object become one with a count, and of the others an object gets 25 and then one
// in five minutes: the rules of client-go's record.EventCorrelator.
type Recorder struct {
	api    *api
	driver string
	source v1.EventSource
	queue  chan event
}

type event struct {
	handle  string // of a claim's volume; "": of the pod
	pod     tier.Pod
	reason  events.Reason
	message string
}

var _ events.Recorder = (*Recorder)(nil)

// New returns a Recorder for the volumes of one CSI driver on one node. Nothing is sent until Run.
func New(config *rest.Config, driver, node string) (*Recorder, error) {
	a, err := connect(config)
	if err != nil {
		return nil, err
	}
	return &Recorder{api: a, driver: driver, source: v1.EventSource{Component: driver, Host: node}, queue: make(chan event, waiting)}, nil
}

// Claim tells those who see the claim of a PersistentVolume. A volume without a claim has nobody to tell.
func (r *Recorder) Claim(ctx context.Context, handle string, reason events.Reason, message string) {
	if handle != "" {
		r.put(ctx, event{handle: handle, reason: reason, message: message})
	}
}

// Pod tells those who see the pod.
func (r *Recorder) Pod(ctx context.Context, pod tier.Pod, reason events.Reason, message string) {
	r.put(ctx, event{pod: pod, reason: reason, message: message})
}

func (r *Recorder) put(ctx context.Context, e event) {
	select {
	case r.queue <- e:
	default:
		klog.FromContext(ctx).Info("Too many events wait for the Kubernetes API; one is dropped", "reason", string(e.reason), "volume", e.handle, "message", e.message)
	}
}

// Run sends Events until ctx ends.
func (r *Recorder) Run(ctx context.Context) error {
	broadcaster := record.NewBroadcaster(record.WithContext(ctx))
	defer broadcaster.Shutdown()
	broadcaster.StartRecordingToSink(r.api)
	recorder := broadcaster.NewRecorder(r.api.scheme, r.source)
	for {
		select {
		case <-ctx.Done():
			return nil
		case e := <-r.queue:
			object, err := r.object(ctx, e)
			if err != nil {
				if ctx.Err() == nil {
					klog.FromContext(ctx).Info("An event can't be told, since its claim isn't known", "reason", string(e.reason), "volume", e.handle, "cause", err.Error())
				}
				continue
			}
			kind := v1.EventTypeNormal
			if events.Reasons()[e.reason] {
				kind = v1.EventTypeWarning
			}
			recorder.Event(object, kind, string(e.reason), shorten(e.message))
		}
	}
}

// object is what an Event is about.
func (r *Recorder) object(ctx context.Context, e event) (*v1.ObjectReference, error) {
	if e.handle == "" {
		return &v1.ObjectReference{APIVersion: "v1", Kind: "Pod", Namespace: e.pod.Namespace, Name: e.pod.Name, UID: types.UID(e.pod.UID)}, nil
	}
	ctx, cancel := context.WithTimeout(ctx, askTime)
	defer cancel()
	// From the API server's memory: an Event is worth no read of etcd.
	volumes, err := r.api.volumes(ctx, metav1.ListOptions{ResourceVersion: "0"})
	if err != nil {
		return nil, err
	}
	for _, v := range volumes.Items {
		if c := v.Spec.CSI; c == nil || c.Driver != r.driver || c.VolumeHandle != e.handle || v.Spec.ClaimRef == nil {
			continue
		}
		claim := v.Spec.ClaimRef
		return &v1.ObjectReference{APIVersion: "v1", Kind: "PersistentVolumeClaim", Namespace: claim.Namespace, Name: claim.Name, UID: claim.UID}, nil
	}
	return nil, fmt.Errorf("no PersistentVolume of %s with a claim has volumeHandle %s", r.driver, e.handle)
}

func shorten(s string) string {
	if len(s) <= longest {
		return s
	}
	const end = "..."
	cut := longest - len(end)
	for cut > 0 && s[cut]&0xc0 == 0x80 { // within a character
		cut--
	}
	return s[:cut] + end
}
