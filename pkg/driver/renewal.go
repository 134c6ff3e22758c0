package driver

// The renewal of the credentials of cold volumes, with what it asks of Kubernetes.

import (
	"context"
	"os"

	"github.com/strata-csi/strata/pkg/cold/renewal"
	"github.com/strata-csi/strata/pkg/cold/volumecontext"
	"github.com/strata-csi/strata/pkg/events/kubeevents"
	"github.com/strata-csi/strata/pkg/identity"
	"github.com/strata-csi/strata/pkg/kube"
	"github.com/strata-csi/strata/pkg/volume"
)

// renew has the credentials of cold volumes renewed beside the service. Without a Kubernetes API there are none.
func (s *service) renew(o ControllerOptions) error {
	if o.Kubeconfig == "" {
		return nil
	}
	client, err := kube.ConnectController(o.Kubeconfig, "strata-controller")
	if err != nil {
		return err
	}
	config, err := kube.Config(o.Kubeconfig, "strata-controller")
	if err != nil {
		return err
	}
	host, err := os.Hostname()
	if err != nil {
		return err
	}
	tell, err := kubeevents.New(config, identity.DriverName, host)
	if err != nil {
		return err
	}
	r := renewal.New(renewal.Options{
		Volumes: renewedVolumes{kube.NewVolumes(client, identity.DriverName)}, Secrets: renewedSecrets{kube.NewSecrets(client, o.Namespace)}, Tell: tell,
	})
	s.monitoring.tiers = append(s.monitoring.tiers, r)
	s.background = append(s.background, r.Run, tell.Run)
	return nil
}

// renewedVolumes is a renewal.Volumes.
type renewedVolumes struct{ of *kube.Volumes }

func (v renewedVolumes) Volumes(ctx context.Context) ([]renewal.Volume, error) {
	all, err := v.of.WithAttribute(ctx, volumecontext.KeyIdentity)
	if err != nil {
		return nil, err
	}
	var cold []renewal.Volume
	for _, p := range all {
		id, err := volume.ParseID(p.Handle)
		if err == nil && id.Tier() == volume.Cold {
			cold = append(cold, renewal.Volume{Name: p.Name, ID: id, Context: p.Attributes, Class: renewal.Reference{Namespace: p.SecretNamespace, Name: p.SecretName}})
		}
	}
	return cold, nil
}

func (v renewedVolumes) Bound(ctx context.Context, name string, id volume.ID) (bool, error) {
	return v.of.Bound(ctx, name, string(id))
}

// renewedSecrets is a renewal.Secrets.
type renewedSecrets struct{ *kube.Secrets }

func (s renewedSecrets) Read(ctx context.Context, r renewal.Reference) (map[string]string, error) {
	return s.Secrets.Read(ctx, r.Namespace, r.Name)
}
