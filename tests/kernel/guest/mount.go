package main

// The kernel mounter called by itself, as a node would call it.

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/strata-csi/strata/pkg/cephkernel"
	"github.com/strata-csi/strata/tests/kernel/agent"
)

// mount reads an agent.MountRequest, mounts, and writes an agent.MountReply. The
// exit code is for what is not an answer of the mounter.
func mount(ctx context.Context, in io.Reader, out io.Writer) int {
	var req agent.MountRequest
	if err := json.NewDecoder(in).Decode(&req); err != nil {
		fmt.Fprintln(os.Stderr, "guest: mount: request:", err)
		return 1
	}
	var reply agent.MountReply
	if ok, reason := cephkernel.Available(); !ok {
		reply.Error, reply.Kind = reason, agent.KindUnavailable
	} else {
		mt := cephkernel.NewMounter()
		reply = attempt(ctx, mt, req)
		if req.Again {
			second := attempt(ctx, mt, req)
			reply.Second = &second
		}
		if req.Settle {
			// An abandoned attempt must end by itself, without a mount.
			reply.Settled = settle(ctx, mt, req)
		}
	}
	if err := json.NewEncoder(out).Encode(reply); err != nil {
		return 1
	}
	return 0
}

func attempt(ctx context.Context, mt *cephkernel.Mounter, req agent.MountRequest) agent.MountReply {
	if req.Timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, req.Timeout)
		defer cancel()
	}
	start := time.Now()
	err := mt.Mount(ctx, req.Mount, []byte(req.Key), req.Target)
	reply := agent.MountReply{Took: time.Since(start), Kind: kind(err)}
	if err != nil {
		reply.Error = err.Error()
	}
	return reply
}

// settle repeats the mount until the attempt that was given up no longer stands
// in the way, and returns what came last.
func settle(ctx context.Context, mt *cephkernel.Mounter, req agent.MountRequest) *agent.MountReply {
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	for {
		if r := attempt(ctx, mt, req); r.Kind != agent.KindInFlight {
			return &r
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil
		}
	}
}

func kind(err error) agent.Kind {
	for _, k := range []struct {
		is   error
		kind agent.Kind
	}{
		{cephkernel.ErrUnavailable, agent.KindUnavailable},
		{cephkernel.ErrInvalid, agent.KindInvalid},
		{cephkernel.ErrDenied, agent.KindDenied},
		{cephkernel.ErrNotFound, agent.KindNotFound},
		{cephkernel.ErrUnreachable, agent.KindUnreachable},
		{cephkernel.ErrNotServed, agent.KindNotServed},
		{cephkernel.ErrInFlight, agent.KindInFlight},
		{context.DeadlineExceeded, agent.KindDeadline},
	} {
		if errors.Is(err, k.is) {
			return k.kind
		}
	}
	if err != nil {
		return agent.KindOther
	}
	return agent.KindNone
}
