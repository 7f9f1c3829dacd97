package logging

import (
	"github.com/hashicorp/go-hclog"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// Zap returns a logger for etcd's client and server that writes to log. What etcd
// says is one level less important here than there: its warnings are of its own
// retries, and the failures that matter reach our log as errors of our calls.
func Zap(log hclog.Logger) *zap.Logger {
	return zap.New(&bridge{log: log})
}

// bridge is a zapcore.Core on top of hclog.
type bridge struct {
	log    hclog.Logger
	fields []zapcore.Field
}

func (b *bridge) level(l zapcore.Level) hclog.Level {
	switch {
	case l >= zapcore.ErrorLevel:
		return hclog.Warn
	case l == zapcore.WarnLevel:
		return hclog.Debug
	default:
		return hclog.Trace
	}
}

// Enabled reports whether hclog would write at that level.
func (b *bridge) Enabled(l zapcore.Level) bool {
	level := b.log.GetLevel()
	return level != hclog.Off && b.level(l) >= level
}

// With returns a core that adds fields to each entry.
func (b *bridge) With(fields []zapcore.Field) zapcore.Core {
	return &bridge{log: b.log, fields: append(b.fields[:len(b.fields):len(b.fields)], fields...)}
}

// Check adds the core where the entry's level is enabled.
func (b *bridge) Check(e zapcore.Entry, c *zapcore.CheckedEntry) *zapcore.CheckedEntry {
	if b.Enabled(e.Level) {
		return c.AddCore(e, b)
	}
	return c
}

// Write hands the entry to hclog.
func (b *bridge) Write(e zapcore.Entry, fields []zapcore.Field) error {
	enc := zapcore.NewMapObjectEncoder()
	for _, f := range b.fields {
		f.AddTo(enc)
	}
	for _, f := range fields {
		f.AddTo(enc)
	}
	args := make([]any, 0, 2*len(enc.Fields))
	for k, v := range enc.Fields {
		args = append(args, k, v)
	}
	b.log.Log(b.level(e.Level), "etcd: "+e.Message, args...)
	return nil
}

// Sync does nothing: hclog does not buffer.
func (b *bridge) Sync() error { return nil }
