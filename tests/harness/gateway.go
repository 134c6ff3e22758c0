package harness

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/strata-csi/strata/pkg/s3"
)

// Gateway is the S3 gateway of a development Ceph (radosgw), given by the Ceph's directory: hack/ceph writes down where it is and its user's key.
func Gateway(cephDir string) (endpoint string, key s3.Credentials, err error) {
	file, env, err := gatewayEnv(cephDir)
	if err != nil {
		return "", key, err
	}
	endpoint, key = env["AWS_ENDPOINT_URL"], s3.Credentials{AccessKeyID: env["AWS_ACCESS_KEY_ID"], SecretAccessKey: env["AWS_SECRET_ACCESS_KEY"]}
	if endpoint == "" || key.AccessKeyID == "" || key.SecretAccessKey == "" {
		return "", key, fmt.Errorf("%s says nothing of an S3 gateway", file)
	}
	return endpoint, key, nil
}

// GatewayRole is the role that the user of the gateway may assume.
func GatewayRole(cephDir string) (arn string, err error) {
	file, env, err := gatewayEnv(cephDir)
	if err == nil && env["STRATA_ROLE_ARN"] == "" {
		err = fmt.Errorf("%s names no role: the Ceph was made by an older hack/ceph; stop it and start it again", file)
	}
	return env["STRATA_ROLE_ARN"], err
}

func gatewayEnv(cephDir string) (file string, env map[string]string, err error) {
	file = filepath.Join(cephDir, "s3.env")
	raw, err := os.ReadFile(file)
	if err != nil {
		return file, nil, err
	}
	env = map[string]string{}
	for line := range strings.Lines(string(raw)) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), "=")
		env[name] = value
	}
	return file, env, nil
}
