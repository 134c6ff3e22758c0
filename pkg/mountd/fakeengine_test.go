package mountd_test

// The strata-coldfs of the tests: the test binary itself. It does what the real one can't be made to do: fall silent, die at a certain point, tell its secret.

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/common/expfmt"
	"golang.org/x/sys/unix"

	"github.com/strata-csi/strata/pkg/coldfs/config"
	"github.com/strata-csi/strata/pkg/coldfs/control"
	"github.com/strata-csi/strata/pkg/mountpoint/mountpointtest"
)

// sentinelSecret is the secret access key of the tests.
const sentinelSecret = "sentinelSecretAccessKeyThatMustNotLeak"

// fakeEngine is told what to do by the first part of the volume's prefix.
func fakeEngine() int {
	var c config.Config
	var who control.Credentials
	for _, f := range []struct {
		fd   uintptr
		into any
	}{{control.FDConfig, &c}, {control.FDCredentials, &who}} {
		if err := json.NewDecoder(os.NewFile(f.fd, "")).Decode(f.into); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 2
		}
	}
	socket, err := net.FileConn(os.NewFile(control.FDControl, ""))
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 2
	}
	var mu sync.Mutex
	say := func(m control.Message) {
		mu.Lock()
		defer mu.Unlock()
		raw, _ := json.Marshal(m)
		_, _ = socket.Write(raw)
	}
	fmt.Fprintf(os.Stderr, "user %d with %s, cache %s of %d, memory %d, read-only %t\n", os.Getuid(), who.AccessKeyID, c.CacheDir, c.CacheLimit, c.MemoryLimit, c.ReadOnly)
	what, _, _ := strings.Cut(c.Prefix, "/")
	if code, ok := strings.CutPrefix(what, "fails-"); ok {
		say(control.Message{Failed: &control.Failure{Code: code, Text: "the fake is told to: " + code}})
		return 1
	}
	switch what {
	case "tells":
		fmt.Fprintln(os.Stderr, "my secret is", who.SecretAccessKey)
		say(control.Message{Failed: &control.Failure{Code: control.CodeFailed, Text: "my secret is " + who.SecretAccessKey}})
		return 1
	case "dies":
		fmt.Fprintln(os.Stderr, "out of luck")
		return 3
	case "silent":
		select {}
	}
	tellMetrics(what, say)
	f := mountpointtest.On(os.NewFile(control.FDFuse, ""))
	f.Init = func(request []byte) {
		say(control.Message{Init: request})
		say(control.Message{Ready: true})
	}
	go obey(socket.(*net.UnixConn), say)
	if err := f.Serve(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	// It commits what it holds; a test that failed leaves it nothing to wait for.
	for target := os.Getenv("STRATA_MOUNTPOINT"); what == "busy" && !exists(target+".written") && exists(filepath.Dir(target)); {
		time.Sleep(5 * time.Millisecond)
	}
	return 0
}

// tellMetrics tells of three reads, of which one failed, and of a listing that is older where the prefix begins with "old".
func tellMetrics(what string, say func(control.Message)) {
	registry := prometheus.NewRegistry()
	prefix := control.MetricsPrefix
	if what == "miscounts" {
		prefix = "strata_"
	}
	failed := prometheus.NewCounterVec(prometheus.CounterOpts{Name: prefix + "operation_errors_total"}, []string{"operation", "errno"})
	failed.WithLabelValues("READ", "EIO").Inc()
	seconds := prometheus.NewHistogram(prometheus.HistogramOpts{Name: prefix + "operation_seconds", Buckets: []float64{1, 2}})
	for range 3 {
		seconds.Observe(1.5)
	}
	open := prometheus.NewGauge(prometheus.GaugeOpts{Name: prefix + "handles"})
	open.Set(2)
	cache := prometheus.NewGauge(prometheus.GaugeOpts{Name: prefix + "cache_bytes"})
	cache.Set(7)
	listing := prometheus.NewGauge(prometheus.GaugeOpts{Name: prefix + "listing_timestamp_seconds"})
	listing.Set(1000)
	if what == "old" {
		listing.Set(100)
	}
	registry.MustRegister(failed, seconds, open, cache, listing)
	all, _ := registry.Gather()
	var raw bytes.Buffer
	for _, family := range all {
		_ = expfmt.NewEncoder(&raw, control.MetricsFormat).Encode(family)
	}
	say(control.Message{Metrics: raw.Bytes()})
}

// obey does what it is ordered to, and goes on without orders.
func obey(socket *net.UnixConn, say func(control.Message)) {
	for {
		raw, rights := make([]byte, control.MaxMessage), make([]byte, unix.CmsgSpace(4))
		n, rn, _, _, err := socket.ReadMsgUnix(raw, rights)
		if err != nil || n == 0 {
			return
		}
		var o control.Order
		if err := json.Unmarshal(raw[:n], &o); err != nil {
			fmt.Fprintln(os.Stderr, err)
			continue
		}
		if o.Flush {
			fmt.Fprintln(os.Stderr, "told to flush")
		}
		if !o.Credentials {
			continue
		}
		messages, err := unix.ParseSocketControlMessage(rights[:rn])
		if err != nil || len(messages) != 1 {
			continue
		}
		fds, err := unix.ParseUnixRights(&messages[0])
		if err != nil || len(fds) != 1 {
			continue
		}
		var who control.Credentials
		file := os.NewFile(uintptr(fds[0]), "")
		err = json.NewDecoder(file).Decode(&who)
		_ = file.Close()
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			continue
		}
		health := &control.Health{}
		if who.AccessKeyID == "revoked" {
			health.Conditions = []control.Condition{{Reason: control.CredentialRefused, Text: "refused, and it was " + who.SecretAccessKey}}
		}
		say(control.Message{Health: health})
		fmt.Fprintln(os.Stderr, "goes on with", who.AccessKeyID)
	}
}
