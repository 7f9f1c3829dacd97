//go:build !lean

package store_test

import (
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"

	"github.com/confsyncd/confsyncd/internal/diff"
)

// How an operation on the head ended, as its caller was told.
type ending int

const (
	done      ending = iota // a read, or a commit that is acknowledged
	lost                    // a commit: the head is no longer its parent
	untouched               // a commit that was not applied and never will be
	unknown                 // a commit that may be applied at any time after its call, or never
)

// request is what is asked of the head: to be read, or to become next if it is parent.
type request struct {
	read         bool
	parent, next diff.Position // the zero parent is no head
}

// reply is what the caller was told.
type reply struct {
	ending ending
	seen   diff.Position // by a read
}

// register is the head as every caller is to see it: one register that is read, and
// compared and swapped.
func register() porcupine.Model {
	return porcupine.Model{
		Init: func() any { return diff.Position{} },
		Step: func(state, input, output any) (bool, any) {
			head, in, out := state.(diff.Position), input.(request), output.(reply)
			switch {
			case in.read:
				return out.seen == head, head
			case out.ending == done:
				return head == in.parent, in.next
			case out.ending == lost:
				return head != in.parent, head
			case out.ending == unknown && head == in.parent:
				return true, in.next // Where that was never so, it comes last of all.
			}
			return true, head
		},
		DescribeOperation: func(input, output any) string {
			in, out := input.(request), output.(reply)
			if in.read {
				return "read " + short(out.seen)
			}
			told := map[ending]string{done: "committed", lost: "lost", untouched: "not applied", unknown: "unknown"}[out.ending]
			return fmt.Sprintf("%s → %s: %s", short(in.parent), short(in.next), told)
		},
		DescribeState: func(state any) string { return short(state.(diff.Position)) },
	}
}

func short(p diff.Position) string {
	if p.IsZero() {
		return "nothing"
	}
	return fmt.Sprintf("%d %.6s", p.Generation, p.Commit)
}

// forever is when an operation returns whose outcome nobody was told.
const forever = int64(1) << 62

// wantLinear fails the test unless the operations have an order in which one register
// answers all of them, and leaves a picture of where it breaks.
func wantLinear(t *testing.T, history []porcupine.Operation) {
	t.Helper()
	result, info := porcupine.CheckOperationsVerbose(register(), history, time.Minute)
	if result == porcupine.Ok {
		return
	}
	picture := filepath.Join(t.ArtifactDir(), "history.html")
	if err := porcupine.VisualizePath(register(), info, picture); err != nil {
		t.Error(err)
	}
	t.Errorf("no order explains the history of %d operations (%s): see %s, which stays with \"go test -artifacts\"", len(history), result, picture)
}

// Each history is told in the order of calls; one that "overlaps" begins before the last
// one returned.
func TestRegister(t *testing.T) {
	at := func(g uint64, name string) diff.Position {
		return diff.Position{Tenant: diff.TenantID{1}, Generation: g, Commit: diff.Sum([]byte(name))}
	}
	none, a, b, c := diff.Position{}, at(1, "a"), at(2, "b"), at(2, "c")
	type op struct {
		overlaps bool
		request
		reply
	}
	read := func(p diff.Position) op { return op{request: request{read: true}, reply: reply{seen: p}} }
	commit := func(parent, next diff.Position, e ending) op {
		return op{request: request{parent: parent, next: next}, reply: reply{ending: e}}
	}
	beside := func(o op) op {
		o.overlaps = true
		return o
	}
	tests := []struct {
		name   string
		ops    []op
		linear bool
	}{
		{"commits one after another", []op{read(none), commit(none, a, done), read(a), commit(a, b, done), read(b)}, true},
		{"of two on one parent one loses", []op{commit(none, a, done), commit(a, b, done), beside(commit(a, c, lost)), read(b)}, true},
		{"an unknown one was applied", []op{commit(none, a, done), commit(a, b, unknown), read(b)}, true},
		{"an unknown one is applied late", []op{commit(none, a, done), commit(a, b, unknown), read(a), read(b)}, true},
		{"an unknown one is never applied", []op{commit(none, a, done), commit(a, b, unknown), read(a), commit(a, c, done), read(c)}, true},
		{"a read beside a commit sees either", []op{commit(none, a, done), commit(a, b, done), beside(read(a)), read(b)}, true},

		{"two commits of one generation are both acknowledged", []op{commit(none, a, done), commit(a, b, done), beside(commit(a, c, done))}, false},
		{"a read is stale", []op{commit(none, a, done), commit(a, b, done), read(a)}, false},
		{"an acknowledged commit is gone", []op{commit(none, a, done), read(none)}, false},
		{"a commit is acknowledged twice over another", []op{commit(none, a, done), commit(a, b, done), commit(a, b, done)}, false},
		{"a race is lost to nobody", []op{commit(none, a, done), commit(a, b, lost), read(a)}, false},
		{"one that was not applied is seen", []op{commit(none, a, done), commit(a, b, untouched), read(b)}, false},
		{"an unknown one is applied, and then it is not", []op{commit(none, a, done), commit(a, b, unknown), read(b), read(a)}, false},
		{"an unknown one is applied over another", []op{commit(none, a, done), commit(a, b, unknown), commit(a, c, done), read(b)}, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var history []porcupine.Operation
			clock := int64(0)
			for i, o := range tt.ops {
				clock += 10
				op := porcupine.Operation{ClientId: i, Input: o.request, Output: o.reply, Call: clock, Return: clock + 5}
				if o.overlaps {
					op.Call -= 7
				}
				if o.ending == unknown {
					op.Return = forever
				}
				history = append(history, op)
			}
			if got := porcupine.CheckOperations(register(), history); got != tt.linear {
				t.Errorf("linear: %v, want %v", got, tt.linear)
			}
		})
	}
}
