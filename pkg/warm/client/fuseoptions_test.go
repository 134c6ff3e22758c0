package client

import (
	"strings"
	"testing"

	"github.com/strata-csi/strata/pkg/volume"
)

func TestFuseOptions(t *testing.T) {
	wantError(t, checkFuseOptions([]string{"noatime", "nosuid", "client_oc_size=1048576", "client_reconnect_stale=true", "client_acl_type=posix_acl"}), nil)
	wantError(t, checkFuseOptions(nil), nil)
	for option, says := range map[string]string{
		"id=admin": "unknown", "keyring=/etc/x": "unknown", "client_mountpoint=/": "unknown", "log_file=/etc/passwd": "unknown", "admin_socket=/x": "unknown",
		"fsname=strata:warm:x": "unknown", "": "unknown", "allow_other": "unknown", "-r": "unknown", "client_oc_sise=1": `did you mean "client_oc_size"`,
		"client_oc_size": "can't be", "client_oc_size=-1": "can't be", "client_oc_size=1,id=x": "can't be", "client_oc=yes": "can't be", "noatime=1": "no value", "noatime": "",
	} {
		err := checkFuseOptions([]string{option})
		if option == "noatime" {
			wantError(t, err, nil)
			continue
		}
		wantError(t, err, volume.ErrInvalid)
		if !strings.Contains(err.Error(), says) {
			t.Errorf("%q: %q doesn't say %q", option, err, says)
		}
	}
	wantError(t, checkFuseOptions([]string{"noatime", "noatime"}), volume.ErrInvalid)
	wantError(t, NoFuse{}.CheckOptions([]string{"id=admin"}), volume.ErrInvalid)
	wantError(t, NoFuse{}.Available(t.Context()), volume.ErrPrecondition)
}
