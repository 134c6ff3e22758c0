package mountd

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"

	"golang.org/x/sys/unix"
)

// send writes one message, with a descriptor when fd isn't negative.
func send(c *net.UnixConn, message any, fd int) error {
	raw, err := json.Marshal(message)
	if err != nil {
		return err
	}
	if len(raw) > maxMessage {
		return fmt.Errorf("%w: a message of %d bytes; at most %d are allowed", ErrInvalid, len(raw), maxMessage)
	}
	var rights []byte
	if fd >= 0 {
		rights = unix.UnixRights(fd)
	}
	_, _, err = c.WriteMsgUnix(raw, rights, nil)
	return err
}

// receive reads one message, and the descriptor that came with it, if any. The file is the caller's to close.
func receive(c *net.UnixConn, limit int, into any) (*os.File, error) {
	// One byte more than allowed tells a message that was cut off from one that fits.
	raw, rights := make([]byte, limit+1), make([]byte, unix.CmsgSpace(4*4))
	n, rn, flags, _, err := c.ReadMsgUnix(raw, rights)
	if err != nil {
		return nil, err
	}
	file, err := descriptor(rights[:rn])
	if err != nil {
		return nil, err
	}
	switch {
	case n > limit || flags&unix.MSG_TRUNC != 0:
		err = fmt.Errorf("%w: a message of more than %d bytes", ErrInvalid, limit)
	case n == 0:
		err = errors.New("the connection was closed without a message")
	default:
		if err = json.Unmarshal(raw[:n], into); err != nil {
			err = fmt.Errorf("%w: the message isn't what this version knows: %v", ErrInvalid, err)
		}
	}
	if err != nil && file != nil {
		_ = file.Close()
		file = nil
	}
	return file, err
}

// descriptor takes the one descriptor out of a control message and closes any other.
func descriptor(rights []byte) (*os.File, error) {
	messages, err := unix.ParseSocketControlMessage(rights)
	if err != nil {
		return nil, fmt.Errorf("control message: %w", err)
	}
	var file *os.File
	for _, m := range messages {
		fds, err := unix.ParseUnixRights(&m)
		if err != nil {
			continue
		}
		for _, fd := range fds {
			unix.CloseOnExec(fd)
			if file == nil {
				file = os.NewFile(uintptr(fd), "key")
			} else {
				_ = unix.Close(fd)
			}
		}
	}
	return file, nil
}

// maxSecret is more than any cephx key has, and any access key with the token of a session, in bytes.
const maxSecret = 16 << 10

// ownSecret copies the secret from a caller's descriptor into a memfd of ours, which can be emptied after use whatever the caller's is. Only a regular
// file is read, and a memfd is one: reading anything else may wait. form checks it.
func ownSecret(from *os.File, form func([]byte) ([]byte, error)) (*os.File, error) {
	info, err := from.Stat()
	if err != nil {
		return nil, fmt.Errorf("key: %w", err)
	}
	if !info.Mode().IsRegular() || info.Size() > maxSecret {
		return nil, fmt.Errorf("%w: the key must come as a regular file of at most %d bytes", ErrInvalid, maxSecret)
	}
	key := make([]byte, maxSecret)
	defer clear(key)
	n, err := from.ReadAt(key, 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("key: %w", err)
	}
	clean, err := form(key[:n])
	if err != nil {
		return nil, err
	}
	defer clear(clean)
	return secret(clean)
}

// keyName is what /proc shows a memfd of ours as.
const keyName = "strata-key"

// wipe empties the key that a client still has as a descriptor, which its holder could not do any more.
func wipe(pid int, of *program) error {
	if of == nil {
		return nil
	}
	path := fmt.Sprintf("/proc/%d/fd/%d", pid, of.descriptor)
	if link, err := os.Readlink(path); err != nil || link != "/memfd:"+keyName+" (deleted)" {
		return nil // it has closed it, or has ended
	}
	return os.Truncate(path, 0)
}

// secret puts a key into a memfd.
func secret(key []byte) (*os.File, error) { return memfd(keyName, key) }

// memfd is a file in memory with some content, to be read from its beginning.
func memfd(name string, content []byte) (*os.File, error) {
	fd, err := unix.MemfdCreate(name, unix.MFD_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("memfd: %w", err)
	}
	f := os.NewFile(uintptr(fd), name)
	_, err = f.Write(content)
	if err == nil {
		_, err = f.Seek(0, io.SeekStart)
	}
	if err != nil {
		_ = f.Close()
		return nil, fmt.Errorf("memfd: %w", err)
	}
	return f, nil
}
