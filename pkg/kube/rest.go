package kube

// The requests themselves, of the core group alone. client-go's clientset would do; it brings all groups of the API with it, and with them
// the node's program would need twice the memory.

import (
	"context"

	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"
)

// Client asks the API server. The zero value is of no use: see Connect.
type Client struct{ requests }

// requests are of objects of group core, by the plural of their kind; without a namespace they are cluster-scoped, or of all namespaces.
// The answer is stored in into.
type requests interface {
	get(ctx context.Context, resource, namespace, name string, into runtime.Object) error
	list(ctx context.Context, resource string, namespace string, o metav1.ListOptions, into runtime.Object) error
	create(ctx context.Context, resource, namespace string, object, into runtime.Object) error
	update(ctx context.Context, resource, namespace, name string, object, into runtime.Object) error
	mergePatch(ctx context.Context, resource, name string, patch []byte, into runtime.Object) error
	remove(ctx context.Context, resource, namespace, name string, o metav1.DeleteOptions) error
}

type restRequests struct {
	client  rest.Interface
	options runtime.ParameterCodec
}

func newREST(c *rest.Config) (*restRequests, error) {
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
	return &restRequests{client, runtime.NewParameterCodec(scheme)}, nil
}

func (r *restRequests) get(ctx context.Context, resource, namespace, name string, into runtime.Object) error {
	return r.client.Get().NamespaceIfScoped(namespace, namespace != "").Resource(resource).Name(name).Do(ctx).Into(into)
}

func (r *restRequests) list(ctx context.Context, resource, namespace string, o metav1.ListOptions, into runtime.Object) error {
	return r.client.Get().NamespaceIfScoped(namespace, namespace != "").Resource(resource).VersionedParams(&o, r.options).Do(ctx).Into(into)
}

func (r *restRequests) create(ctx context.Context, resource, namespace string, object, into runtime.Object) error {
	return r.client.Post().NamespaceIfScoped(namespace, namespace != "").Resource(resource).Body(object).Do(ctx).Into(into)
}

func (r *restRequests) update(ctx context.Context, resource, namespace, name string, object, into runtime.Object) error {
	return r.client.Put().NamespaceIfScoped(namespace, namespace != "").Resource(resource).Name(name).Body(object).Do(ctx).Into(into)
}

func (r *restRequests) mergePatch(ctx context.Context, resource, name string, patch []byte, into runtime.Object) error {
	return r.client.Patch(types.MergePatchType).Resource(resource).Name(name).Body(patch).Do(ctx).Into(into)
}

func (r *restRequests) remove(ctx context.Context, resource, namespace, name string, o metav1.DeleteOptions) error {
	return r.client.Delete().NamespaceIfScoped(namespace, namespace != "").Resource(resource).Name(name).Body(&o).Do(ctx).Error()
}
