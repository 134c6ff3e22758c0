package inspect

import (
	"context"
	"fmt"
	"strings"

	"golang.org/x/sync/errgroup"
)

// cloneIndex is where the manager keeps its queue of copies: a symbolic link for each, to the base directory of the volume that is
// copied into; docs/operations.md, "Copies stand still".
const cloneIndex = "/volumes/_index/clone"

// queueOf returns the links of the queue by the base directory that they point at.
func queueOf(ctx context.Context, t tree) (map[string]string, error) {
	names, err := t.list(ctx, cloneIndex)
	if err != nil {
		return nil, err
	}
	targets := make([]string, len(names))
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(together)
	for i, name := range names {
		group.Go(func() (err error) {
			targets[i], err = t.link(ctx, cloneIndex+"/"+name)
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	queue := map[string]string{}
	for i, to := range targets {
		if to != "" {
			queue[to] = cloneIndex + "/" + names[i]
		}
	}
	return queue, nil
}

// checkQueue finds links to volumes that were removed before their copy had ended: the manager stops at the first of them for ever.
func checkQueue(ctx context.Context, t tree, check Check) Check {
	check.Name = "ceph-copies"
	queue, err := queueOf(ctx, t)
	if err != nil {
		check.Result, check.Found = Unknown, because(err)
		return check
	}
	var stuck []string
	for target, link := range queue {
		there, err := t.hasData(ctx, target)
		if err != nil {
			check.Result, check.Found = Unknown, because(err)
			return check
		}
		if there {
			continue
		}
		if still, err := t.link(ctx, link); err != nil || still != target { // struck off since it was read
			continue
		}
		stuck = append(stuck, link+" -> "+target)
	}
	switch {
	case len(stuck) > 0:
		check.Result = Fail
		check.Found = fmt.Sprintf("%d copies wait, and all of them behind %s: it points at a volume that was removed before its copy had ended",
			len(queue), strings.Join(sorted(stuck), ", "))
		check.Fix = `remove the link on a mount of the file system's root, as docs/operations.md says under "Copies stand still": ` + removeLinks(stuck)
	case len(queue) > 0:
		check.Result, check.Found = OK, fmt.Sprintf("%d under way or waiting", len(queue))
	default:
		check.Result, check.Found = OK, "none under way"
	}
	return check
}

func removeLinks(stuck []string) string {
	var words []string
	for _, s := range sorted(stuck) {
		link, _, _ := strings.Cut(s, " ")
		words = append(words, "MOUNT"+link)
	}
	return "rm " + strings.Join(words, " ")
}
