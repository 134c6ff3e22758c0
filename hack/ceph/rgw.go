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
	env := fmt.Sprintf("AWS_ACCESS_KEY_ID=%s\nAWS_SECRET_ACCESS_KEY=%s\nAWS_DEFAULT_REGION=default\nAWS_ENDPOINT_URL=%s\n",
		user.Keys[0].AccessKey, user.Keys[0].SecretKey, l.S3Endpoint())
	return writeFile(l.S3Env(), []byte(env), 0o600)
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
