package projectquota

// What linux/dqblk_xfs.h declares. The layouts are those of every 64-bit architecture.

const (
	cmdSetLimit = 'X'<<8 + 4 // Q_XSETQLIM
	cmdGetQuota = 'X'<<8 + 3 // Q_XGETQUOTA
	cmdGetState = 'X'<<8 + 8 // Q_XGETQSTATV

	blockSize    = 512    // of the counts of blocks, whatever the file system's
	projectQuota = 1 << 1 // FS_PROJ_QUOTA
	softAndHard  = 0xf    // FS_DQ_ISOFT, IHARD, BSOFT, BHARD

	typeProject = 2 // PRJQUOTA

	projectAccounted = 1 << 4 // FS_QUOTA_PDQ_ACCT
	projectEnforced  = 1 << 5 // FS_QUOTA_PDQ_ENFD
)

// quotaOf is struct fs_disk_quota.
type quotaOf struct {
	version                int8
	flags                  int8
	mask                   uint16
	id                     uint32
	blocksHard, blocksSoft uint64
	inodesHard, inodesSoft uint64
	blocks, inodes         uint64
	_                      [56]byte // timers, warnings, the real-time device
}

// stateV is struct fs_quota_statv.
type stateV struct {
	version int8
	_       uint8
	flags   uint16
	_       [156]byte
}
