package codec

import (
	"fmt"
	"reflect"
	"strings"
	"testing"

	"github.com/confsyncd/confsyncd/internal/diff"
)

func TestHeadSaysNoMoreOfChannelsThanItMust(t *testing.T) {
	at := func(name string, g uint64) Channel {
		return Channel{Name: name, Generation: g, Commit: numbered(byte(g))}
	}
	ahead := func(g uint64) *Ahead { return &Ahead{Channel: MainChannel, Generation: g, Commit: numbered(byte(g))} }
	h := Head{Position: diff.Position{Tenant: goldenTenant(), Generation: 9, Commit: numbered(9)}}
	for name, tt := range map[string]struct {
		channels []Channel
		ahead    *Ahead
		want     []Channel
		rolls    bool
	}{
		"main at the head goes without saying":           {channels: []Channel{at(MainChannel, 9)}},
		"main behind the head does not":                  {channels: []Channel{at(MainChannel, 8)}, want: []Channel{at(MainChannel, 8)}},
		"nor another at the head":                        {channels: []Channel{at("a", 9)}, want: []Channel{at("a", 9)}},
		"they are put in order":                          {channels: []Channel{at("z", 9), at("a", 1)}, want: []Channel{at("a", 1), at("z", 9)}},
		"a rollout stays until its channel has come":     {channels: []Channel{at(MainChannel, 7)}, ahead: ahead(8), want: []Channel{at(MainChannel, 7)}, rolls: true},
		"a rollout ends when its channel has come":       {channels: []Channel{at(MainChannel, 8)}, ahead: ahead(8), want: []Channel{at(MainChannel, 8)}},
		"a rollout ends when its channel is gone":        {channels: []Channel{at("a", 8)}, ahead: ahead(9), want: []Channel{at("a", 8)}},
		"a rollout ends when its channel is at the head": {channels: []Channel{at(MainChannel, 9)}, ahead: ahead(9)},
	} {
		t.Run(name, func(t *testing.T) {
			got := h.WithChannels(tt.channels, tt.ahead)
			if !reflect.DeepEqual(got.Channels, tt.want) || (got.Ahead != nil) != tt.rolls {
				t.Errorf("channels %+v, ahead %+v", got.Channels, got.Ahead)
			}
			for _, c := range tt.channels {
				if on, ok := got.On(c.Name); !ok || on.Generation != c.Generation || on.Commit != c.Commit {
					t.Errorf("%s is at %+v, %t", c.Name, on, ok)
				}
			}
		})
	}
}

func TestShareOfHostsIsStable(t *testing.T) {
	tenant, other := goldenTenant(), diff.TenantID{1}
	// What is in the field must stay so: a host that is ahead would fall behind.
	for host, want := range map[string]uint32{"web-1": 2850, "web-2": 5052, "": 8297} {
		if got := Share(tenant, host); got != want {
			t.Errorf("share of %q is %d, not %d", host, got, want)
		}
	}
	counts := map[uint32]int{}
	differ := 0
	for i := range 10_000 {
		host := fmt.Sprintf("host-%d", i)
		for _, percent := range []uint32{0, 1, 10, 50, 100} {
			if (Selector{Parts: 100 * percent}).Selects(tenant, host, nil) {
				counts[percent]++
				if !(Selector{Parts: 100*percent + 1}).Selects(tenant, host, nil) {
					t.Fatalf("%s is of %d percent and not of one more", host, percent)
				}
			}
		}
		if Share(tenant, host) != Share(other, host) {
			differ++
		}
	}
	if counts[0] != 0 || counts[100] != 10_000 || counts[10] < 850 || counts[10] > 1150 || counts[50] < 4700 || counts[50] > 5300 {
		t.Errorf("of 10,000 hosts: %v", counts)
	}
	if differ < 9000 {
		t.Errorf("only %d hosts have another share of another tenant", differ)
	}
}

func TestHostFollowsTheRolloutThatHasIt(t *testing.T) {
	h := goldenHeadChannels()
	h.Ahead.Hosts = []Selector{{Label: "role=web", Parts: AllParts}}
	web, db := map[string]string{"role": "web"}, map[string]string{"role": "db"}
	for name, tt := range map[string]struct {
		channel string
		labels  map[string]string
		want    uint64
	}{
		"with the label":           {"main", web, 41},
		"with another":             {"main", db, 39},
		"without any":              {"main", nil, 39},
		"on another channel":       {"canary", web, 42},
		"on a channel that is not": {"stable", web, 0},
	} {
		t.Run(name, func(t *testing.T) {
			got, ok := h.Follow(tt.channel, "web-1", tt.labels)
			if got.Generation != tt.want || ok != (tt.want > 0) {
				t.Errorf("follows %d, %t", got.Generation, ok)
			}
		})
	}
}

func TestHeadRefusesChannelsThatNobodyCouldRead(t *testing.T) {
	many := goldenHead()
	for i := range MaxChannels + 1 {
		many.Channels = append(many.Channels, Channel{Name: fmt.Sprintf("c%02d", i), Generation: 1})
	}
	named := goldenHead()
	named.Channels = []Channel{{Name: "Not a name", Generation: 1}}
	long := goldenHeadChannels()
	long.Ahead.Hosts[0].Label = strings.Repeat("x", MaxLabel+1)
	for name, h := range map[string]Head{"too many": many, "an odd name": named, "a long label": long} {
		if _, err := EncodeHead(h); err == nil {
			t.Errorf("%s: encoded", name)
		}
	}
}
