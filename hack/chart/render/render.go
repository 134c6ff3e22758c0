// Package render renders the chart without a cluster, as `helm template` does.
package render

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"os"
	"path"
	"slices"
	"strings"

	"helm.sh/helm/v3/pkg/chart/loader"
	"helm.sh/helm/v3/pkg/chartutil"
	"helm.sh/helm/v3/pkg/engine"
)

// Options say what to render.
type Options struct {
	Chart     string   // directory of the chart
	Values    []string // values files; later ones win
	Namespace string   // of the release
	Release   string   // its name
	// KubeVersion is the version of Kubernetes that the chart is told; empty: the oldest that it is for.
	KubeVersion string
}

// oldest is the kubeVersion of Chart.yaml.
const oldest = "v1.30.0"

// A File is what a template gave: its name in templates/, and its objects with "---" between them.
type File struct {
	Name string
	Text []byte
}

// Files renders the chart, by the names of the templates but the namespace first, without those that gave nothing. Values that the chart's schema refuses are an error
// that names them.
func Files(o Options) ([]File, error) {
	c, err := loader.LoadDir(o.Chart)
	if err != nil {
		return nil, fmt.Errorf("chart %s: %w", o.Chart, err)
	}
	values := map[string]any{}
	for _, name := range o.Values {
		text, err := os.ReadFile(name)
		if err != nil {
			return nil, err
		}
		v, err := chartutil.ReadValues(text)
		if err != nil {
			return nil, fmt.Errorf("values %s: %w", name, err)
		}
		values = chartutil.MergeTables(v, values)
	}
	if o.KubeVersion == "" {
		o.KubeVersion = oldest
	}
	version, err := chartutil.ParseKubeVersion(o.KubeVersion)
	if err != nil {
		return nil, fmt.Errorf("Kubernetes version %q: %w", o.KubeVersion, err)
	}
	if c.Metadata.KubeVersion != "" && !chartutil.IsCompatibleRange(c.Metadata.KubeVersion, version.Version) {
		return nil, fmt.Errorf("the chart is for Kubernetes %s, and this is %s", c.Metadata.KubeVersion, version.Version)
	}
	capabilities := chartutil.DefaultCapabilities.Copy()
	capabilities.KubeVersion = *version
	release := chartutil.ReleaseOptions{Name: o.Release, Namespace: o.Namespace, Revision: 1, IsInstall: true}
	all, err := chartutil.ToRenderValues(c, values, release, capabilities)
	if err != nil {
		return nil, err
	}
	out, err := engine.Render(c, all)
	if err != nil {
		return nil, err
	}
	var files []File
	for _, name := range slices.Sorted(maps.Keys(out)) {
		if text := documents(out[name]); strings.HasSuffix(name, ".yaml") && len(text) > 0 {
			files = append(files, File{Name: path.Base(name), Text: text})
		}
	}
	if len(files) == 0 {
		return nil, errors.New("the chart gave no object")
	}
	// Others lie in it.
	slices.SortStableFunc(files, func(a, b File) int { return before(a) - before(b) })
	return files, nil
}

func before(f File) int {
	if f.Name == "namespace.yaml" {
		return 0
	}
	return 1
}

// documents drops documents without a value, and blank lines around the others. Lines within are kept: they may be text of a block.
func documents(text string) []byte {
	var out bytes.Buffer
	for d := range strings.SplitSeq("\n"+strings.TrimRight(text, "\n")+"\n", "\n---\n") {
		d = strings.Trim(d, "\n")
		if empty(d) {
			continue
		}
		if out.Len() > 0 {
			out.WriteString("---\n")
		}
		out.WriteString(d + "\n")
	}
	return out.Bytes()
}

func empty(document string) bool {
	for line := range strings.SplitSeq(document, "\n") {
		if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "#") {
			return false
		}
	}
	return true
}

// All joins files into one stream of documents.
func All(files []File) []byte {
	var out bytes.Buffer
	for i, f := range files {
		if i > 0 {
			out.WriteString("---\n")
		}
		out.Write(f.Text)
	}
	return out.Bytes()
}
