package coldfs

// The engine's end of what pkg/coldfs/control describes.

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync/atomic"

	"golang.org/x/sys/unix"
	"k8s.io/klog/v2"

	"github.com/strata-csi/strata/pkg/coldfs/control"
	"github.com/strata-csi/strata/pkg/s3"
)

// link speaks with the holder. A nil link speaks with nobody.
type link struct {
	conn        *net.UnixConn
	credentials atomic.Pointer[control.Credentials]
	backings    asked
}

func newLink(file *os.File, c control.Credentials) (*link, error) {
	l := &link{}
	l.credentials.Store(&c)
	if file == nil {
		return l, nil
	}
	conn, err := net.FileConn(file)
	if err != nil {
		return nil, fmt.Errorf("the control socket: %w", err)
	}
	unixConn, ok := conn.(*net.UnixConn)
	if !ok {
		return nil, fmt.Errorf("the control socket is a %s", conn.LocalAddr().Network())
	}
	l.conn = unixConn
	return l, nil
}

func (l *link) close() {
	if l.conn != nil {
		_ = l.conn.Close()
	}
}

// provider is what requests are signed with: always the last credential that came.
func (l *link) provider() s3.Credentials { return s3.Credentials(*l.credentials.Load()) }

// say sends a message. A holder that is gone is no error: the mount goes on without it.
func (l *link) say(m control.Message) error {
	if l.conn == nil {
		return nil
	}
	raw, err := json.Marshal(m)
	if err != nil {
		return err
	}
	if len(raw) > control.MaxMessage {
		return fmt.Errorf("a message of %d bytes for the holder, at most %d", len(raw), control.MaxMessage)
	}
	if _, err := l.conn.Write(raw); err != nil && !errors.Is(err, unix.EPIPE) && !errors.Is(err, unix.ECONNRESET) {
		return fmt.Errorf("tell the holder: %w", err)
	}
	return nil
}

// listen obeys orders until the holder is gone.
func (l *link) listen(ctx context.Context, flush func(context.Context)) {
	if l.conn == nil {
		return
	}
	defer l.backings.end()
	log := klog.FromContext(ctx)
	raw, oob := make([]byte, control.MaxMessage+1), make([]byte, unix.CmsgSpace(4*4))
	for {
		n, oobn, _, _, err := l.conn.ReadMsgUnix(raw, oob)
		if err != nil || n == 0 {
			if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, net.ErrClosed) {
				log.Error(err, "The holder can't be heard any more; the mount goes on without it")
			}
			return
		}
		files := received(oob[:oobn])
		var order control.Order
		if err := json.Unmarshal(raw[:n], &order); err != nil {
			log.Error(nil, "The holder says what this engine doesn't understand", "bytes", n)
		} else if err := l.obey(ctx, order, files, flush); err != nil {
			log.Error(err, "An order of the holder can't be obeyed")
		}
		for _, f := range files {
			_ = f.Close()
		}
	}
}

func (l *link) obey(ctx context.Context, o control.Order, files []*os.File, flush func(context.Context)) error {
	switch {
	case o.Credentials:
		if len(files) != 1 {
			return fmt.Errorf("new credentials came with %d descriptors, want one", len(files))
		}
		c, err := ReadCredentials(files[0])
		if err != nil {
			return err
		}
		l.credentials.Store(&c)
		klog.FromContext(ctx).Info("New credentials are used from now on")
	case o.Backing != nil:
		if !l.backings.answer(*o.Backing) && o.Backing.ID != 0 {
			return l.say(control.Message{Backing: &control.BackingRequest{Close: o.Backing.ID}}) // who asked waits no more
		}
	case o.Flush:
		flush(ctx)
	}
	return nil
}

// received are the descriptors that came with a message.
func received(oob []byte) []*os.File {
	messages, err := unix.ParseSocketControlMessage(oob)
	if err != nil {
		return nil
	}
	var files []*os.File
	for _, m := range messages {
		fds, err := unix.ParseUnixRights(&m)
		if err != nil {
			continue
		}
		for _, fd := range fds {
			unix.CloseOnExec(fd)
			files = append(files, os.NewFile(uintptr(fd), "from the holder"))
		}
	}
	return files
}

// maxCredentials is far more than any has; a session token has some thousand bytes.
const maxCredentials = 64 << 10

// ReadCredentials reads a file with control.Credentials from its beginning. No error has anything of its content.
func ReadCredentials(file *os.File) (control.Credentials, error) {
	raw, err := io.ReadAll(io.NewSectionReader(file, 0, maxCredentials))
	if err != nil {
		return control.Credentials{}, errors.New("the credentials can't be read")
	}
	var c control.Credentials
	if err := json.Unmarshal(raw, &c); err != nil || c.AccessKeyID == "" || c.SecretAccessKey == "" {
		return control.Credentials{}, errors.New("the credentials aren't JSON with accessKeyID and secretAccessKey")
	}
	return c, nil
}
