package librados

// The connection: two librados clients and a mount for each file system in use, all made on first use.
//
// Commands to the manager have a client of their own, without rados_mon_op_timeout: with it, rados_mgr_command returns
// while the command is still queued, and a late answer is written to its dead stack frame (RadosClient::mgr_command
// waits on a local C_SaferCond; MgrClient keeps the pointer). Without it, an abandoned command stays queued until a manager answers.

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/ceph/go-ceph/cephfs"
	"github.com/ceph/go-ceph/rados"

	"github.com/strata-csi/strata/pkg/ceph"
)

// Places for calls of each kind. The manager runs the commands of its volumes module one at a time, so
// more would only wait there.
const (
	mgrSlots     = 32
	monSlots     = 16
	treeSlots    = 32
	objectsSlots = 32
)

// Conn is a connection to one cluster; see ceph.Conn.
type Conn struct {
	options Options
	closed  chan struct{}
	once    sync.Once

	mgr, mon, tree, objects *slots

	client   *holder[*rados.Conn] // monitors, objects, and the configuration of mounts
	commands *holder[*rados.Conn] // manager

	mu    sync.Mutex // guards trees
	trees map[string]*tree
}

var _ ceph.Conn = (*Conn)(nil)

// Dial connects to the monitors and proves the key. An error that wraps ceph.ErrHung: no monitor answered; a *ceph.Error with
// EACCES or EPERM: the key is wrong. The process keeps no connection then.
func Dial(ctx context.Context, o Options) (*Conn, error) {
	if err := o.Validate(); err != nil {
		return nil, fmt.Errorf("connection to Ceph: %w", err)
	}
	o.Timeouts = o.Timeouts.withDefaults()
	c := &Conn{options: o, closed: make(chan struct{}), trees: map[string]*tree{}}
	t := o.Timeouts.Call
	c.mgr, c.mon = newSlots(mgrSlots, t, c.closed), newSlots(monSlots, t, c.closed)
	c.tree, c.objects = newSlots(treeSlots, t, c.closed), newSlots(objectsSlots, t, c.closed)
	free := func(r *rados.Conn) { r.Shutdown() }
	c.client = &holder[*rados.Conn]{free: free, create: func() (*rados.Conn, error) { return connect(o, o.Timeouts.Mon) }}
	c.commands = &holder[*rados.Conn]{free: free, create: func() (*rados.Conn, error) { return connect(o, 0) }}
	_, err := run(ctx, c.mon, "connect to Ceph as client."+o.User, func() (struct{}, error) {
		x, err := c.client.enter()
		if err == nil {
			c.client.leave(x)
		}
		return struct{}{}, err
	})
	if err != nil {
		c.Close()
		return nil, err
	}
	return c, nil
}

// connect makes a librados client from the options alone.
func connect(o Options, monTimeout time.Duration) (*rados.Conn, error) {
	op := "connect to Ceph as client." + o.User
	key, err := o.key()
	if err != nil {
		return nil, err
	}
	r, err := rados.NewConnWithUser(o.User)
	if err != nil {
		return nil, refused(op, err, "")
	}
	seconds := func(d time.Duration) string { return strconv.FormatInt(int64(d.Round(time.Second)/time.Second), 10) }
	for _, option := range [][2]string{
		{"mon_host", strings.Join(o.Monitors, ",")},
		{"key", key},
		{"client_mount_timeout", seconds(o.Timeouts.Mount)},
		{"rados_mon_op_timeout", seconds(monTimeout)},
		{"rados_osd_op_timeout", seconds(o.Timeouts.OSD)},
		// The mounts are ours alone and see only what the key allows; checks by the client on top of it would
		// need this process to be root.
		{"client_mount_uid", "0"},
		{"client_mount_gid", "0"},
		{"client_permissions", "false"},
		{"client_check_pool_perm", "false"},
	} {
		if err := r.SetConfigOption(option[0], option[1]); err != nil {
			return nil, refused(op+": option "+option[0], err, "")
		}
	}
	if err := r.Connect(); err != nil {
		return nil, answer(op, err)
	}
	return r, nil
}

// Tree is the tree of the file system named fs.
func (c *Conn) Tree(fs string) ceph.Tree { return c.treeOf(fs) }

func (c *Conn) treeOf(fs string) *tree {
	c.mu.Lock()
	defer c.mu.Unlock()
	t, ok := c.trees[fs]
	if !ok {
		t = &tree{fs: fs, slots: c.tree, mount: &holder[*cephfs.MountInfo]{
			create: func() (*cephfs.MountInfo, error) { return c.mount(fs) },
			free:   unmount,
		}}
		select {
		case <-c.closed:
			t.mount.close()
		default:
		}
		c.trees[fs] = t
	}
	return t
}

// Objects are the objects of one namespace of one pool.
func (c *Conn) Objects(pool, namespace string) ceph.Objects {
	return &objects{pool: pool, namespace: namespace, slots: c.objects, client: c.client}
}

// Close ends the connection. Callers get ErrClosed at once; what is hanging in the libraries frees its handle when it returns.
func (c *Conn) Close() {
	c.once.Do(func() {
		close(c.closed)
		c.mu.Lock()
		trees := c.trees
		c.trees = map[string]*tree{}
		c.mu.Unlock()
		for _, t := range trees {
			t.mount.close()
		}
		c.commands.close()
		c.client.close()
	})
}
