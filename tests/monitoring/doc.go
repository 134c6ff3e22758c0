// Package monitoring proves that what operators are given fits the programs: every metric that an alert rule, a panel of the dashboard
// or the documentation names exists, with its labels, and every rule fires when it should and not otherwise.
//
// It is a module of its own, since Prometheus' parser and engine bring more with them than all of Strata.
package monitoring
