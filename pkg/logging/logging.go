// Package logging is how all programs log: to standard error, as text for people or as JSON for machines, always through klog.
package logging

import (
	"flag"
	"fmt"
	"io"
	"log"
	"os"
	"strconv"
	"strings"

	"github.com/go-logr/zapr"
	"github.com/spf13/pflag"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"k8s.io/klog/v2"
)

// The formats.
const (
	Text = "text"
	JSON = "json"
)

// Options are the values of the flags.
type Options struct {
	// Format is Text or JSON.
	Format string
	// verbosity is klog's: 0, or more for more.
	verbosity *flag.Flag
}

// AddFlags adds --logging-format and --v to a program's flags.
func AddFlags(flags *pflag.FlagSet) *Options {
	all := flag.NewFlagSet("", flag.ContinueOnError)
	klog.InitFlags(all)
	o := &Options{verbosity: all.Lookup("v")}
	flags.StringVar(&o.Format, "logging-format", Text, "text, or json: one object on each line of standard error, with ts, level, msg and fields")
	flags.AddGoFlag(o.verbosity)
	return o
}

// Apply makes the process log as the flags say. It is called once, after they were parsed and before anything is logged.
func (o *Options) Apply() error {
	switch o.Format {
	case Text:
		return nil
	case JSON:
	default:
		return fmt.Errorf("--logging-format: %q is neither %s nor %s", o.Format, Text, JSON)
	}
	verbosity, err := strconv.Atoi(o.verbosity.Value.String())
	if err != nil {
		return fmt.Errorf("--v: %w", err)
	}
	setJSON(os.Stderr, verbosity)
	// The standard library's own packages, net/http among them, log there.
	log.SetFlags(0)
	log.SetOutput(lines{})
	return nil
}

// setJSON makes klog, with and without a logger in the context, write JSON.
func setJSON(w io.Writer, verbosity int) {
	sink := zapcore.Lock(zapcore.AddSync(w))
	core := zapcore.NewCore(zapcore.NewJSONEncoder(zapcore.EncoderConfig{
		TimeKey: "ts", LevelKey: "level", MessageKey: "msg", CallerKey: "caller",
		EncodeTime:     zapcore.RFC3339NanoTimeEncoder,
		EncodeDuration: zapcore.StringDurationEncoder,
		EncodeCaller:   zapcore.ShortCallerEncoder,
		// zap has no levels of verbosity below its own debug; they are the field "v".
		EncodeLevel: func(l zapcore.Level, e zapcore.PrimitiveArrayEncoder) {
			e.AppendString(max(l, zapcore.InfoLevel).String())
		},
	}), sink, zapcore.Level(-verbosity))
	logger := zapr.NewLoggerWithOptions(zap.New(core, zap.WithCaller(true)), zapr.LogInfoLevel("v"), zapr.ErrorKey("err"), zapr.DPanicOnBugs(false))
	klog.SetLoggerWithOptions(logger, klog.ContextualLogger(true), klog.FlushLogger(func() { _ = sink.Sync() }))
}

// lines logs what the standard library's log package writes.
type lines struct{}

func (lines) Write(p []byte) (int, error) {
	klog.Background().Info(strings.TrimSpace(string(p)))
	return len(p), nil
}
