package kubeevents

// The requests to the API server. The clientset of client-go would do; it brings all groups of the API with it, and with them a
// program would need much more memory.

import (
	"context"

	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/record"
)

// api is a record.EventSink.
type api struct {
	client rest.Interface
	scheme *runtime.Scheme
}

var _ record.EventSink = (*api)(nil)

func connect(c *rest.Config) (*api, error) {
	scheme := runtime.NewScheme()
	metav1.AddToGroupVersion(scheme, v1.SchemeGroupVersion)
	if err := v1.AddToScheme(scheme); err != nil {
		return nil, err
	}
	c = rest.CopyConfig(c)
	c.APIPath = "/api"
	c.GroupVersion = &v1.SchemeGroupVersion
	c.NegotiatedSerializer = serializer.NewCodecFactory(scheme).WithoutConversion()
	client, err := rest.RESTClientFor(c)
	if err != nil {
		return nil, err
	}
	return &api{client, scheme}, nil
}

func (a *api) volumes(ctx context.Context, o metav1.ListOptions) (*v1.PersistentVolumeList, error) {
	var list v1.PersistentVolumeList
	err := a.client.Get().Resource("persistentvolumes").VersionedParams(&o, runtime.NewParameterCodec(a.scheme)).Do(ctx).Into(&list)
	return &list, err
}

// Create implements record.EventSink, whose methods have no context: the rest.Config bounds a request.
func (a *api) Create(e *v1.Event) (*v1.Event, error) {
	made := &v1.Event{}
	return made, a.client.Post().Namespace(e.Namespace).Resource("events").Body(e).Do(context.Background()).Into(made)
}

// Update implements record.EventSink.
func (a *api) Update(e *v1.Event) (*v1.Event, error) {
	made := &v1.Event{}
	return made, a.client.Put().Namespace(e.Namespace).Resource("events").Name(e.Name).Body(e).Do(context.Background()).Into(made)
}

// Patch implements record.EventSink.
func (a *api) Patch(e *v1.Event, patch []byte) (*v1.Event, error) {
	made := &v1.Event{}
	return made, a.client.Patch(types.StrategicMergePatchType).Namespace(e.Namespace).Resource("events").Name(e.Name).Body(patch).Do(context.Background()).Into(made)
}
