// Package rpc serves CSI over a Unix socket. What holds for every call is done here, once: a request id, the log, the
// metric, a panic that becomes an answer, the code of an error, and a deadline.
//
// The order of the interceptors is part of their meaning. The log and the metric stand outside of the panic and of
// the error table, so that they see the code that the caller sees; the deadline stands innermost, next to what it bounds.
package rpc
