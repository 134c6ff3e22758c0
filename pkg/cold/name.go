package cold

// Where a volume is, and its id: cold:STORE:BUCKET:PART[:PART...]. DeleteVolume gets nothing but the id, so the id says all: docs/decisions/0022.

import (
	"fmt"
	"net"
	"net/url"
	"strconv"
	"strings"

	"github.com/strata-csi/strata/pkg/cold/marker"
	"github.com/strata-csi/strata/pkg/volume"
)

// place is where a volume is.
type place struct {
	store  string // the endpoint as an id has it
	bucket string
	parts  []string // of the prefix; none: the bucket is the volume's own
}

// prefix begins the keys of the volume: "", or it ends with '/'.
func (p place) prefix() string {
	if len(p.parts) == 0 {
		return ""
	}
	return strings.Join(p.parts, "/") + "/"
}

// above are the prefixes that the volume lies in, the bucket's root first.
func (p place) above() []string {
	var all []string
	for i := range p.parts {
		all = append(all, place{parts: p.parts[:i]}.prefix())
	}
	return all
}

func (p place) id() (volume.ID, error) {
	return volume.NewID(volume.Cold, append([]string{p.store, p.bucket}, p.parts...)...)
}

// String is how messages name it.
func (p place) String() string {
	if len(p.parts) == 0 {
		return "bucket " + p.bucket
	}
	return fmt.Sprintf("%s in bucket %s", p.prefix(), p.bucket)
}

// parsePlace reads an id. One that is well-formed and not ours wraps volume.ErrNotFound: it names nothing here.
func parsePlace(id volume.ID) (place, string, error) {
	parts := id.Parts()
	if id.Tier() != volume.Cold || len(parts) < 2 {
		return place{}, "", fmt.Errorf("%w: %q isn't a volume of tier cold", volume.ErrNotFound, id)
	}
	p := place{store: parts[0], bucket: parts[1], parts: parts[2:]}
	for _, part := range p.parts {
		if part+"/" == marker.Directory {
			return place{}, "", fmt.Errorf("%w: %q isn't a volume: %s is Strata's own", volume.ErrNotFound, id, part)
		}
	}
	endpoint, ok := endpointOf(p.store)
	if !ok {
		return place{}, "", fmt.Errorf("%w: %q isn't a volume of tier cold", volume.ErrNotFound, id)
	}
	return p, endpoint, nil
}

// The end of a store's name that says plain HTTP, and what stands before the port. Host names have no '_'.
const (
	plainHTTP  = "_http"
	beforePort = "_"
)

// storeOf writes an endpoint as a part of an id: HOST of https://HOST, HOST_PORT of another port, and _http behind them. The error wraps volume.ErrInvalid.
func storeOf(endpoint string) (string, error) {
	u, err := url.Parse(endpoint)
	if err != nil {
		return "", fmt.Errorf("%w: endpoint: %q is no URL", volume.ErrInvalid, endpoint)
	}
	store := strings.ToLower(u.Hostname())
	if net.ParseIP(store) != nil && strings.Contains(store, ":") || strings.Contains(store, beforePort) {
		return "", fmt.Errorf("%w: endpoint: %q can't be part of a volume's id; give it a DNS name", volume.ErrInvalid, u.Hostname())
	}
	standard := map[string]string{"https": "443", "http": "80"}[u.Scheme]
	if port := u.Port(); port != "" && port != standard {
		store += beforePort + port
	}
	if u.Scheme == "http" {
		store += plainHTTP
	}
	if err := volume.CheckPart(store); err != nil {
		return "", fmt.Errorf("endpoint: %w", err)
	}
	return store, nil
}

// endpointOf is the endpoint that storeOf made store of, without a standard port.
func endpointOf(store string) (string, bool) {
	scheme := "https"
	host, plain := strings.CutSuffix(store, plainHTTP)
	if plain {
		scheme = "http"
	}
	host, port, hasPort := strings.Cut(host, beforePort)
	if host == "" || hasPort && !isPort(port) {
		return "", false
	}
	if hasPort {
		host += ":" + port
	}
	return scheme + "://" + host, true
}

func isPort(s string) bool {
	n, err := strconv.ParseUint(s, 10, 16)
	return err == nil && n > 0 && strconv.FormatUint(n, 10) == s
}
