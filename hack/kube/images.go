package main

// Images in the nodes' containerd.

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"

	"golang.org/x/sync/errgroup"
)

// kubernetesImages is containerd's namespace that the kubelet's images are in.
const kubernetesImages = "k8s.io"

// ctr runs containerd's command line in a node.
func ctr(ctx context.Context, l Layout, node string, stdin io.Reader, args ...string) ([]byte, error) {
	command, err := l.enter(node, "/")
	if err != nil {
		return nil, err
	}
	command = append(command, append([]string{"ctr", "--address", containerdSocket, "--namespace", kubernetesImages, "images"}, args...)...)
	cmd := exec.CommandContext(ctx, command[0], command[1:]...)
	cmd.Stdin, cmd.Env = stdin, l.environment()
	out, err := cmd.CombinedOutput()
	if err != nil {
		return nil, fmt.Errorf("%s: ctr images %s: %w: %s", node, strings.Join(args, " "), err, lastLines(out, 5))
	}
	return out, nil
}

func eachNode(f func(Node) error) error {
	var group errgroup.Group
	for _, n := range nodes {
		group.Go(func() error { return f(n) })
	}
	return group.Wait()
}

func importImages(ctx context.Context, l Layout, tars []string, say *Progress) error {
	for _, path := range tars {
		err := eachNode(func(n Node) error {
			// The file is handed over open: a node doesn't see every directory.
			f, err := os.Open(path)
			if err != nil {
				return err
			}
			defer f.Close()
			if _, err := ctr(ctx, l, n.Name, f, "import", "-"); err != nil {
				return fmt.Errorf("%s: %w", path, err)
			}
			return nil
		})
		if err != nil {
			return err
		}
		say.Step("imported %s", path)
	}
	return nil
}

func tagImage(ctx context.Context, l Layout, old, name string, say *Progress) error {
	err := eachNode(func(n Node) error {
		_, err := ctr(ctx, l, n.Name, nil, "tag", "--force", old, name)
		return err
	})
	if err == nil {
		say.Step("%s is %s", name, old)
	}
	return err
}

func listImages(ctx context.Context, l Layout, out io.Writer) error {
	for _, n := range nodes {
		b, err := ctr(ctx, l, n.Name, nil, "list", "--quiet")
		if err != nil {
			return err
		}
		for line := range strings.Lines(string(b)) {
			if strings.HasPrefix(line, "sha256:") { // the kubelet's other name of each
				continue
			}
			if _, err := fmt.Fprintf(out, "%s  %s", n.Name, line); err != nil {
				return err
			}
		}
	}
	return nil
}
