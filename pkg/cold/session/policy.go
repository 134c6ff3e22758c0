package session

// What the credentials of a volume may do. The policy is written without white space (s3.SessionRequest).

import (
	"encoding/json"
	"fmt"
	"strings"

	"github.com/strata-csi/strata/pkg/cold/marker"
	"github.com/strata-csi/strata/pkg/cold/volumecontext"
	"github.com/strata-csi/strata/pkg/volume"
)

// statement is one of IAM's (IAM User Guide, "Grammar of the IAM JSON policy language").
type statement struct {
	Effect    string
	Action    []string
	Resource  []string
	Condition map[string]map[string][]string `json:",omitempty"`
}

const arn = "arn:aws:s3:::"

// policyOf is that of a volume. Everything that isn't in it is refused, and the marker, by which the controller knows a volume, can't be changed by a node.
func policyOf(c volumecontext.Context) (string, error) {
	// What IAM gives a meaning to. Prefixes of a class have none of it.
	if strings.ContainsAny(c.Prefix, "*?$ ") || strings.ContainsFunc(c.Prefix, func(r rune) bool { return r > '~' }) {
		return "", fmt.Errorf("%w: prefix %q: with %s: %s it can't have *, ?, $, spaces and letters beyond ASCII", volume.ErrInvalid, c.Prefix, volumecontext.KeyIdentity, c.Identity)
	}
	bucket := arn + c.Bucket
	below := bucket + "/" + c.Prefix
	list := statement{Effect: "Allow", Action: []string{"s3:ListBucket"}, Resource: []string{bucket}}
	if c.Prefix != "" {
		list.Condition = map[string]map[string][]string{"StringLike": {"s3:prefix": {c.Prefix + "*"}}}
	}
	all := []statement{list}
	if c.Identity == volumecontext.IdentityReader {
		all = append(all, statement{Effect: "Allow", Action: []string{"s3:GetObject"}, Resource: []string{below + "*"}})
	} else {
		all = append(all,
			statement{Effect: "Allow", Resource: []string{below + "*"},
				Action: []string{"s3:GetObject", "s3:PutObject", "s3:DeleteObject", "s3:AbortMultipartUpload", "s3:ListMultipartUploadParts"}},
			statement{Effect: "Deny", Action: []string{"s3:PutObject", "s3:DeleteObject"}, Resource: []string{below + marker.Key}})
	}
	raw, err := json.Marshal(struct {
		Version   string
		Statement []statement
	}{"2012-10-17", all})
	return string(raw), err
}
