package main

// Ceph's admin socket, spoken directly: starting the ceph tool costs 200 ms of Python each time.

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"time"
)

// adminSocket runs a command on a daemon's admin socket and returns its answer. The protocol is a
// JSON object ended by a NUL, answered by a 32-bit big-endian length and as many bytes
// (src/common/admin_socket.cc of Ceph).
func adminSocket(ctx context.Context, l Layout, d Daemon, command string) ([]byte, error) {
	var dialer net.Dialer
	conn, err := dialer.DialContext(ctx, "unix", l.Socket(d))
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(5 * time.Second)); err != nil {
		return nil, err
	}
	req, err := json.Marshal(map[string]string{"prefix": command, "format": "json"})
	if err != nil {
		return nil, err
	}
	if _, err := conn.Write(append(req, 0)); err != nil {
		return nil, fmt.Errorf("%s: %w", d, err)
	}
	var size uint32
	if err := binary.Read(conn, binary.BigEndian, &size); err != nil {
		return nil, fmt.Errorf("%s: %w", d, err)
	}
	if size > 16<<20 {
		return nil, fmt.Errorf("%s: an answer of %d bytes on its admin socket", d, size)
	}
	answer := make([]byte, size)
	if _, err := io.ReadFull(conn, answer); err != nil {
		return nil, fmt.Errorf("%s: %w", d, err)
	}
	return answer, nil
}
