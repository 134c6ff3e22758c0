// Package failpoint lets a test kill the process at a named step, to prove that a repeated request
// ends in the state it would have had without the crash.
//
// The program must be built with the tag "failpoint"; without it Hit is an empty function that the
// compiler inlines away, so that no released program can be told to kill itself.
//
// STRATA_FAILPOINT_TRACE names a file to which every step that is passed is appended, one a line: what a request can be killed at.
//
// With the tag, the environment variable STRATA_FAILPOINT says where: "warm/create/after-subvolume" is the first time
// that step is passed, "warm/create/after-subvolume=3" the third. Death is by SIGKILL: no deferred
// call, no signal handler and no graceful stop runs, as after a power cut.
package failpoint
