package scan

import (
	"testing"
	"time"
)

func TestRacy(t *testing.T) {
	at := time.Unix(1000, 500_000_007)
	ago := func(d time.Duration) int64 { return at.Add(-d).UnixNano() }
	tests := []struct {
		name         string
		mtime, ctime int64
		want         bool
	}{
		{"both old", ago(time.Second), ago(time.Second), false},
		{"both just older than the margin", ago(51 * time.Millisecond), ago(51 * time.Millisecond), false},
		{"written just now", ago(time.Millisecond), ago(time.Millisecond), true},
		{"mtime set back just now", ago(time.Hour), ago(time.Millisecond), true},
		{"written just now where ctime means nothing", ago(time.Millisecond), ago(time.Hour), true},
		{"mtime set into the future long ago", ago(-time.Hour), ago(time.Hour), false},
		{"a clock ahead of ours", ago(-time.Hour), ago(-time.Hour), true},
		{"whole seconds, one second ago", time.Unix(999, 0).UnixNano(), time.Unix(999, 0).UnixNano(), true},
		{"whole seconds, three seconds ago", time.Unix(997, 0).UnixNano(), time.Unix(997, 0).UnixNano(), false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := (stamp{mtime: tt.mtime, ctime: tt.ctime}).racy(at); got != tt.want {
				t.Errorf("racy is %v", got)
			}
		})
	}
}
