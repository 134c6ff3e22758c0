package report

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
)

// Writer writes the reports of this node into a directory, which may be shared with other nodes (NFS) or with a controller on
// the same machine. One process of a node has one.
type Writer struct{ dir string }

// NewWriter makes the directory when it isn't there.
func NewWriter(dir string) (*Writer, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("directory of scratch reports: %w", err)
	}
	return &Writer{dir: dir}, nil
}

// Write replaces the node's report, so that a Reader sees the old one or the new one. It isn't made safe against a power cut: the node
// reports anew when it is back. Call it after a change and, for a Reader to see that the node lives, every minute.
func (w *Writer) Write(_ context.Context, r Report) error {
	raw, err := encode(r)
	if err != nil {
		return err
	}
	name := fileName(r.Node)
	temp := filepath.Join(w.dir, "."+name+".tmp")
	if err := os.WriteFile(temp, append(raw, '\n'), 0o644); err != nil {
		_ = os.Remove(temp)
		return fmt.Errorf("write the scratch report: %w", err)
	}
	if err := os.Rename(temp, filepath.Join(w.dir, name)); err != nil {
		_ = os.Remove(temp)
		return fmt.Errorf("write the scratch report: %w", err)
	}
	return nil
}
