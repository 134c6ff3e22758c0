// Package version says which build this is.
package version

import (
	"runtime/debug"
	"strings"
)

// version is set by the Makefile: -ldflags "-X github.com/strata-csi/strata/pkg/version.version=v1.2.3".
var version string

// commitLength is how much of a commit is shown.
const commitLength = 12

// String is the release, or without one the commit the program was built from, with "-dirty" when the checkout had
// changes. It is never empty: CSI requires a vendor_version.
func String() string {
	if version != "" {
		return version
	}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "devel"
	}
	return of(info)
}

func of(info *debug.BuildInfo) string {
	// A program installed with "go install MODULE@VERSION" knows its version.
	if v := info.Main.Version; v != "" && !strings.HasPrefix(v, "(") && !strings.HasPrefix(v, "v0.0.0-") {
		return v
	}
	settings := map[string]string{}
	for _, s := range info.Settings {
		settings[s.Key] = s.Value
	}
	commit := settings["vcs.revision"]
	if commit == "" {
		return "devel"
	}
	commit = commit[:min(commitLength, len(commit))]
	if settings["vcs.modified"] == "true" {
		return "devel-" + commit + "-dirty"
	}
	return "devel-" + commit
}
