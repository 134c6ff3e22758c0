// Package kubectl is kubectl-strata, the tool of operators: it puts together what the Kubernetes API says of the driver and its
// volumes with what strata-controller, asked in its container, says of the clusters behind them (package inspect).
//
// It only reads: objects of the API, and `strata-controller inspect` in a pod of the controller. It never prints a secret, and where
// something should be removed it prints the command.
package kubectl
