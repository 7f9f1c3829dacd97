package agent

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/confsyncd/confsyncd/internal/install"
)

var start = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

func at(d time.Duration) time.Time { return start.Add(d) }

func drifted(paths ...string) []install.Drifted {
	var list []install.Drifted
	for _, path := range paths {
		list = append(list, install.Drifted{Path: path, What: install.Missing, Why: "missing"})
	}
	return list
}

func ready(s *drifts, now time.Time) []string {
	list, _ := s.ready(now)
	var paths []string
	for _, d := range list {
		paths = append(paths, d.Path)
	}
	return paths
}

func TestDrifts_waitLongerWithEachRepairInARow(t *testing.T) {
	s := newDrifts(firstDelay)
	now := start
	var waits []time.Duration
	alarms := 0
	for range 13 {
		s.update(drifted("a"), now)
		list, wait := s.ready(now)
		if len(list) == 1 {
			wait = 0
		}
		waits = append(waits, wait)
		now = now.Add(wait)
		if got := ready(s, now); !slices.Equal(got, []string{"a"}) {
			t.Fatalf("ready %q", got)
		}
		if s.tried("a", "", now) {
			alarms++
		}
		now = now.Add(100 * time.Millisecond) // It is written again at once.
	}
	want := []time.Duration{0, 1e9, 2e9, 4e9, 8e9, 16e9, 32e9, 64e9, 128e9, 256e9, lastDelay, lastDelay, lastDelay}
	if !slices.Equal(waits, want) || alarms != 1 || s.alarms() != 1 {
		t.Errorf("waited %v, %d alarms, %d paths", waits, alarms, s.alarms())
	}
	if lines, n := s.lines(false, now); n != 1 || !strings.Contains(lines[0], "another tool") {
		t.Errorf("lines %q", lines)
	}
	if over := s.calm(now.Add(9 * time.Minute)); len(over) > 0 || s.alarms() != 1 {
		t.Errorf("calm too early: %q", over)
	}
	if over := s.calm(now.Add(11 * time.Minute)); !slices.Equal(over, []string{"a"}) || s.alarms() != 0 || len(s.past) > 0 {
		t.Errorf("never calm: %q, %v", over, s.past)
	}
}

func TestDrifts_forgetARowAfterAMinute(t *testing.T) {
	s := newDrifts(firstDelay)
	s.update(drifted("a"), start)
	s.tried("a", "", start)
	s.update(drifted("a"), at(61*time.Second))
	if got := ready(s, at(61*time.Second)); !slices.Equal(got, []string{"a"}) {
		t.Errorf("ready %q", got)
	}
	if s.alarms() != 0 {
		t.Error("an alarm")
	}
}

func TestDrifts_raiseAnAlarmForASlowFight(t *testing.T) {
	s := newDrifts(firstDelay)
	for i := range 10 {
		now := at(time.Duration(i) * 2 * time.Minute)
		s.update(drifted("a"), now)
		if raised := s.tried("a", "", now); raised != (i == alarmCount-1) {
			t.Errorf("repair %d: alarm %v", i, raised)
		}
	}
}

func TestDrifts_waitForQuietButNotForever(t *testing.T) {
	s := newDrifts(firstDelay)
	d := drifted("a")
	for i := range 30 {
		now := at(time.Duration(i) * 100 * time.Millisecond)
		d[0].Changed = now
		s.update(d, now)
		if got := len(ready(s, now)) == 1; got != (now.Sub(start) >= driftUnrest) {
			t.Errorf("after %v: ready %v", now.Sub(start), got)
		}
	}
	s = newDrifts(firstDelay)
	d[0].Changed = start
	s.update(d, at(50*time.Millisecond))
	if _, wait := s.ready(at(50 * time.Millisecond)); wait != 150*time.Millisecond {
		t.Errorf("waits %v", wait)
	}
}

func TestDrifts_neverTouchWhatIsBusyOrHidden(t *testing.T) {
	s := newDrifts(firstDelay)
	d := drifted("busy", "hidden", "unreadable", "z")
	d[0].Busy = true
	d[1].What, d[2].What = install.Mounted, install.Unreadable
	s.update(d, start)
	if got := ready(s, at(time.Hour)); !slices.Equal(got, []string{"z"}) {
		t.Errorf("ready %q", got)
	}
	if _, wait := s.ready(start); wait != busyAgain {
		t.Errorf("waits %v", wait)
	}
	if _, n := s.lines(false, start); n != 2 { // The others are about to be repaired.
		t.Errorf("%d lines", n)
	}
}

func TestDrifts_waitBelowADirectoryThatWaits(t *testing.T) {
	s := newDrifts(firstDelay)
	s.update(drifted("d"), start)
	s.tried("d", "", start)
	s.update(drifted("d", "d/e", "d/e/f", "e"), at(time.Second))
	if got := ready(s, at(time.Second)); !slices.Equal(got, []string{"e"}) {
		t.Errorf("ready %q", got)
	}
	if got := ready(s, at(2*time.Second)); !slices.Equal(got, []string{"d", "d/e", "d/e/f", "e"}) {
		t.Errorf("ready %q", got)
	}
}

func TestDrifts_tryWhatFailedAgainSoon(t *testing.T) {
	s := newDrifts(firstDelay)
	s.update(drifted("a"), start)
	now := start
	for range 12 {
		s.tried("a", "no space left on device", now)
		_, wait := s.ready(now)
		if wait <= 0 || wait > stuckAgain {
			t.Fatalf("waits %v", wait)
		}
		now = now.Add(wait)
		s.update(drifted("a"), now)
		if got := ready(s, now); !slices.Equal(got, []string{"a"}) {
			t.Fatalf("ready %q after %v", got, wait)
		}
	}
}

func TestDrifts_lookAgainSoonAtWhatIsHidden(t *testing.T) {
	s := newDrifts(firstDelay)
	d := drifted("hidden")
	d[0].What = install.Mounted
	s.update(d, start)
	if _, wait := s.ready(start); wait != stuckAgain {
		t.Errorf("waits %v", wait)
	}
}

func TestDrifts_tryAgainWhenWhatWasInTheWayIsGone(t *testing.T) {
	s := newDrifts(firstDelay)
	d := drifted("a")
	s.update(d, start)
	for i := range 8 {
		s.tried("a", "a FIFO stands there", at(time.Duration(i)*time.Second))
	}
	s.update(d, at(10*time.Second))
	if got := ready(s, at(10*time.Second)); len(got) > 0 {
		t.Errorf("ready %q", got)
	}
	if lines, _ := s.lines(false, at(10*time.Second)); !strings.Contains(lines[0], "a FIFO stands there") {
		t.Errorf("lines %q", lines)
	}
	d[0].What = install.OtherKind
	s.update(d, at(11*time.Second))
	if got := ready(s, at(11*time.Second)); len(got) != 1 {
		t.Errorf("ready %q", got)
	}
}

func TestDriftThatIsDueWhileOthersAreRepairedIsNotPassedOver(t *testing.T) {
	s := newDrifts(time.Second)
	begin := time.Now()
	later := begin.Add(time.Millisecond)
	s.update([]install.Drifted{{Path: "a", What: install.OtherBytes, Changed: later.Add(-driftSettle)}}, begin.Add(-time.Millisecond))
	if got := ready(s, begin); len(got) > 0 {
		t.Fatalf("%q are ready", got)
	}
	for _, took := range []time.Duration{0, time.Millisecond, time.Minute} {
		if wait := s.next(begin, begin.Add(took)); wait != max(0, time.Millisecond-took) {
			t.Errorf("after %v: next look after %v", took, wait)
		}
	}
}
