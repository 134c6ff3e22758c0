// Package config is what an engine of tier cold is told when it starts: which prefix of which bucket it serves, and how. strata-node composes it,
// strata-mountd hands it to the engine as a descriptor, strata-coldfs reads it. It holds no credential.
package config

import (
	"time"

	"github.com/strata-csi/strata/pkg/s3"
)

// Config says what one engine serves. Sizes are in bytes; times are Go durations in nanoseconds.
type Config struct {
	// Volume is the id of the volume, for logs and metrics.
	Volume string      `json:"volume"`
	Store  s3.Location `json:"store"`
	// Prefix begins all keys of the volume: "" (the whole bucket), or it ends with '/'.
	Prefix string `json:"prefix,omitempty"`

	ReadOnly bool `json:"readOnly,omitempty"`
	// Immutable: what was seen once never changes; the kernel keeps names and attributes for ImmutableTTL.
	Immutable   bool          `json:"immutable,omitempty"`
	MetadataTTL time.Duration `json:"metadataTTL"` // how old attributes and names may be

	UID      uint32 `json:"uid"` // of files whose metadata has none
	GID      uint32 `json:"gid"`
	DirMode  uint32 `json:"dirMode"`  // permission bits of directories without metadata
	FileMode uint32 `json:"fileMode"` // permission bits of files without metadata
	// MountGroup is the group that everything in the mount is shown to belong to, and that may read and write it, whatever its metadata says; nil: none. What is
	// made here has it in its metadata too.
	MountGroup *uint32 `json:"mountGroup,omitempty"`

	StorageClass string `json:"storageClass,omitempty"`
	SSE          string `json:"sse,omitempty"`

	// Capacity is the volume's size when it was staged; the owner marker has a later one. EnforceQuota refuses new writes past it.
	Capacity     int64 `json:"capacity,omitempty"`
	EnforceQuota bool  `json:"enforceQuota,omitempty"`

	// CacheDir is a directory of the node that all engines share; each has its own staged files below it too.
	CacheDir string `json:"cacheDir"`
	// CacheLimit is the most that all engines keep there together, CacheReserve what stays free of the disk whatever happens.
	CacheLimit   int64 `json:"cacheLimit"`
	CacheReserve int64 `json:"cacheReserve"`
	// CacheShare is the most of CacheLimit that this volume may fill; 0: all of it.
	CacheShare int64 `json:"cacheShare,omitempty"`
	BlockSize  int64 `json:"blockSize,omitempty"` // of the cache; 0: 8 MiB
	// Passthrough is from which size on the kernel may read a file from the cache by itself, for which the holder must open backing files; 0: never. It is so on volumes that are ReadOnly or Immutable.
	Passthrough int64 `json:"passthrough,omitempty"`
	// MemoryLimit is what the engine may have resident; 0: 256 MiB.
	MemoryLimit int64 `json:"memoryLimit,omitempty"`
}
