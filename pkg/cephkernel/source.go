package cephkernel

// The device string: MON[,MON...]:/PATH, the syntax every kernel client
// accepts. The newer NAME@FSID.FS=/PATH needs Linux 5.17 and says nothing more.

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"path"
	"strconv"
	"strings"
)

// Ports a monitor listens on unless told otherwise
// (https://docs.ceph.com/en/pacific/rados/configuration/msgr2/).
const (
	monitorPortV1 = 6789
	monitorPortV2 = 3300
)

// source builds the device string of m, resolving host names: the kernel
// client takes addresses only, unless built with its DNS resolver.
func source(ctx context.Context, m Mount, msgr2 bool) (string, error) {
	if !path.IsAbs(m.Path) || path.Clean(m.Path) != m.Path || strings.ContainsRune(m.Path, 0) {
		return "", fmt.Errorf("%w: path %q is not absolute and clean", ErrInvalid, m.Path)
	}
	if len(m.Monitors) == 0 {
		return "", fmt.Errorf("%w: no monitor address", ErrInvalid)
	}
	var monitors []string
	for _, entry := range m.Monitors {
		addresses, err := monitorAddresses(ctx, entry, msgr2)
		if err != nil {
			return "", err
		}
		monitors = append(monitors, addresses...)
	}
	return strings.Join(monitors, ",") + ":" + m.Path, nil
}

// monitorAddresses turns one monitor as a ceph.conf writes it, a host or
// address with an optional port, v1:/v2: prefix, or a bracketed list of those,
// into the addresses that speak the wanted protocol version.
func monitorAddresses(ctx context.Context, entry string, msgr2 bool) ([]string, error) {
	wanted, other, port := "v1:", "v2:", uint16(monitorPortV1)
	if msgr2 {
		wanted, other, port = "v2:", "v1:", monitorPortV2
	}
	list := strings.TrimSpace(entry)
	if inner, ok := strings.CutPrefix(list, "[v"); ok {
		inner, ok = strings.CutSuffix(inner, "]")
		if !ok {
			return nil, fmt.Errorf("%w: monitor %q: missing ]", ErrInvalid, entry)
		}
		list = "v" + inner
	}
	var addresses []string
	for one := range strings.SplitSeq(list, ",") {
		one = strings.TrimSpace(one)
		if strings.HasPrefix(one, other) {
			continue
		}
		one, _, _ = strings.Cut(strings.TrimPrefix(one, wanted), "/") // "/NONCE" is 0 for a monitor
		resolved, err := resolve(ctx, one, port)
		if err != nil {
			return nil, fmt.Errorf("%w: monitor %q: %w", ErrInvalid, entry, err)
		}
		addresses = append(addresses, resolved...)
	}
	if len(addresses) == 0 {
		return nil, fmt.Errorf("%w: monitor %q has no %s address (option ms_mode chooses the protocol)", ErrInvalid, entry, strings.TrimSuffix(wanted, ":"))
	}
	return addresses, nil
}

func resolve(ctx context.Context, hostPort string, defaultPort uint16) ([]string, error) {
	if ap, err := netip.ParseAddrPort(hostPort); err == nil {
		return []string{ap.String()}, nil
	}
	if a, err := netip.ParseAddr(strings.Trim(hostPort, "[]")); err == nil {
		return []string{netip.AddrPortFrom(a, defaultPort).String()}, nil
	}
	host, port := hostPort, defaultPort
	if h, p, err := net.SplitHostPort(hostPort); err == nil {
		n, err := strconv.ParseUint(p, 10, 16)
		if err != nil {
			return nil, fmt.Errorf("port %q is not a number from 0 to 65535", p)
		}
		host, port = h, uint16(n)
	}
	if !plain(host) {
		return nil, fmt.Errorf("%q is neither an address nor a host name", host)
	}
	found, err := net.DefaultResolver.LookupNetIP(ctx, "ip", host)
	if err != nil {
		return nil, err
	}
	addresses := make([]string, 0, len(found))
	for _, a := range found {
		addresses = append(addresses, netip.AddrPortFrom(a.Unmap(), port).String())
	}
	return addresses, nil
}
