package main

// The S3 gateway and its user.

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"
)

const s3User = "strata"

// volumeRole is the role that the user assumes for each volume that has credentials of its own.
const volumeRole = "strata-volumes"

// Who may assume the role, and what it may do with the buckets. radosgw takes a session for the user that began it: without the condition, a session that is bound to
// one prefix could assume the role again, unbound. Only a session has the key aws:TokenIssueTime.
const (
	volumeRoleTrust = `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"AWS":["arn:aws:iam:::user/` + s3User + `"]},"Action":["sts:AssumeRole"],` +
		`"Condition":{"Null":{"aws:TokenIssueTime":"true"}}}]}`
	volumeRolePolicy = `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":["s3:*"],"Resource":["arn:aws:s3:::*"]}]}`
)

// makeS3User creates the user and writes its keys to DIR/s3.env. The gateway's tool makes up the keys, so that
// they are on no command line.
func makeS3User(ctx context.Context, l Layout) error {
	out, err := tool(ctx, 2*time.Minute, "radosgw-admin", "-c", l.Conf(), "-n", gateway.Entity(), "user", "create", "--uid", s3User, "--display-name", "Strata development")
	if err != nil {
		return err
	}
	var user struct {
		Keys []struct {
			AccessKey string `json:"access_key"`
			SecretKey string `json:"secret_key"`
		} `json:"keys"`
	}
	if err := json.Unmarshal(out, &user); err != nil {
		return fmt.Errorf("radosgw-admin user create: %w", err)
	}
	if len(user.Keys) == 0 {
		return errors.New("radosgw-admin user create: it made no keys")
	}
	arn, err := makeVolumeRole(ctx, l)
	if err != nil {
		return err
	}
	env := fmt.Sprintf("AWS_ACCESS_KEY_ID=%s\nAWS_SECRET_ACCESS_KEY=%s\nAWS_DEFAULT_REGION=default\nAWS_ENDPOINT_URL=%s\nSTRATA_ROLE_ARN=%s\n",
		user.Keys[0].AccessKey, user.Keys[0].SecretKey, l.S3Endpoint(), arn)
	return writeFile(l.S3Env(), []byte(env), 0o600)
}

// makeVolumeRole makes the role and returns its ARN.
func makeVolumeRole(ctx context.Context, l Layout) (string, error) {
	admin := []string{"-c", l.Conf(), "-n", gateway.Entity()}
	out, err := tool(ctx, 2*time.Minute, "radosgw-admin", append(admin, "role", "create", "--role-name", volumeRole, "--path", "/", "--assume-role-policy-doc", volumeRoleTrust)...)
	if err != nil {
		return "", err
	}
	var role struct{ Arn string }
	if err := json.Unmarshal(out, &role); err != nil || role.Arn == "" {
		return "", fmt.Errorf("radosgw-admin role create: it names no role: %w", err)
	}
	_, err = tool(ctx, 2*time.Minute, "radosgw-admin", append(admin, "role-policy", "put", "--role-name", volumeRole, "--policy-name", "buckets", "--policy-doc", volumeRolePolicy)...)
	return role.Arn, err
}

// rgwAnswers asks the gateway for its root as nobody: an empty list of buckets, status 200.
func rgwAnswers(ctx context.Context, l Layout) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, l.S3Endpoint()+"/", nil)
	if err != nil {
		return err
	}
	resp, err := (&http.Client{Transport: &http.Transport{Proxy: nil, DisableKeepAlives: true}}).Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("GET %s/: %s", l.S3Endpoint(), resp.Status)
	}
	return nil
}

func waitRGW(ctx context.Context, l Layout) error {
	return poll(ctx, 300*time.Millisecond, func() (bool, string, error) {
		err := rgwAnswers(ctx, l)
		return err == nil, fmt.Sprintf("the S3 gateway (%v; see %s)", err, l.Output(gateway)), nil
	})
}
