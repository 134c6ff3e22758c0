// Package agent is what a test on the host and the agent in the emulated machine
// say to each other: HTTP, with these paths and bodies.
//
// The agent listens nowhere. It keeps a few connections open to the host, each
// beginning with a line of the machine's token, and serves requests on them: so no
// port is forwarded into the machine, and none has to be guessed to be free.
package agent

// Parameters of the kernel's command line that the guest reads.
const (
	// ParamHost is the address the agent connects to.
	ParamHost = "strata.host"
	// ParamToken is the machine's token, which the host asks for.
	ParamToken = "strata.token"
	// ParamPorts is the range of local ports forwarded to the host's loopback
	// interface, "FIRST-LAST" inclusive.
	ParamPorts = "strata.ports"
	// ParamModules are kernel modules to load at boot, separated by commas.
	ParamModules = "strata.modules"
)

// HostLoopback is how the host's 127.0.0.1 is called in the guest: the gateway of
// QEMU's user-mode network.
const HostLoopback = "10.0.2.2"

// Paths of the agent's HTTP server. Failures answer 500 with the error as text.
const (
	// PathExec runs a Command (JSON, POST) and answers a Result (JSON).
	PathExec = "/exec"
	// PathFile reads (GET) or writes (PUT, mode= octal) the file path=.
	PathFile = "/file"
	// PathStart starts a Command that goes on running as name= (POST).
	PathStart = "/start"
	// PathSignal sends signal= (a number) to the process name= (POST).
	PathSignal = "/signal"
	// PathWait waits for the process name= and answers a Result without output.
	PathWait = "/wait"
	// PathDial answers 101 and joins the connection to the Unix socket path=.
	PathDial = "/dial"
	// PathNetwork sets the forwarded ports' state= to up, cut or drop (POST).
	PathNetwork = "/network"
	// PathPowerOff detaches network file systems, syncs and turns off (POST).
	PathPowerOff = "/poweroff"
)

// States of PathNetwork.
const (
	// NetworkUp forwards.
	NetworkUp = "up"
	// NetworkCut ends all connections and lets new ones hang, as a network that
	// loses every packet does.
	NetworkCut = "cut"
	// NetworkDrop ends all connections and goes on forwarding new ones.
	NetworkDrop = "drop"
)

// Command is a program to run.
type Command struct {
	// Args are the program and its arguments.
	Args []string
	// Env are additional variables, "NAME=VALUE".
	Env []string
	// Dir is the working directory; / when empty.
	Dir string
	// Stdin is given to the program; not with PathStart.
	Stdin []byte
}

// Result is how a program ended.
type Result struct {
	Stdout, Stderr []byte
	// Code is the exit code, or 128 plus the number of the signal that ended it.
	Code int
}

// LogPath is where the output of the process started as name goes.
func LogPath(name string) string { return "/run/lab/" + name + ".log" }
