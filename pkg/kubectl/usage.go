package kubectl

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	"github.com/strata-csi/strata/pkg/inspect"
	"github.com/strata-csi/strata/pkg/volume"
)

// Usage is what each team has in each tier.
type Usage struct {
	Header
	Prices map[string]float64 `json:"prices"` // of a GB (10^9 bytes) for a month, by tier; empty when none were given
	Teams  []TeamUsage        `json:"teams"`
	Missed []inspect.Missed   `json:"missed"` // clusters and file systems that aren't counted
}

// TeamUsage is what one team has in one tier. A scratch volume has no team: its namespace counts as one.
type TeamUsage struct {
	Team        string   `json:"team"`
	Tier        string   `json:"tier"`
	Volumes     int      `json:"volumes"`
	Without     int      `json:"withoutPersistentVolume"` // of them
	Provisioned int64    `json:"provisioned"`             // bytes
	Used        *int64   `json:"used"`                    // bytes; null where no volume's is known
	Cost        *float64 `json:"cost"`                    // of a month, by what is provisioned; null without a price
}

// Measure adds up the volumes. Volumes in the clusters that no PersistentVolume has count too: they take room. The error says what
// couldn't be asked; the sums are without it.
func Measure(ctx context.Context, c Clients, prices map[string]float64) (Usage, error) {
	u := Usage{Header: c.header("Usage"), Prices: prices, Teams: []TeamUsage{}}
	list, s, err := c.volumes(ctx)
	u.Missed = list.Missed
	sums := map[[2]string]*TeamUsage{}
	add := func(team, tier string, size int64, used *int64) *TeamUsage {
		key := [2]string{team, tier}
		t := sums[key]
		if t == nil {
			t = &TeamUsage{Team: team, Tier: tier}
			sums[key] = t
		}
		t.Volumes++
		t.Provisioned += size
		if used != nil {
			if t.Used == nil {
				t.Used = new(int64)
			}
			*t.Used += *used
		}
		return t
	}
	named := map[string]bool{}
	for _, v := range list.Volumes {
		named[v.ID] = v.ID != ""
		if v.State == stateGone {
			continue
		}
		team := v.Team
		if v.Tier == string(volume.Scratch) {
			team = v.Namespace
		}
		size := v.Size
		if b := s.byID[v.ID]; b != nil && b.ReadOnly { // it takes nothing: its data is the snapshot's
			size = 0
		}
		add(team, v.Tier, size, v.Used)
	}
	for _, v := range s.Volumes {
		if !named[v.ID] && !v.ReadOnly {
			add(v.Team, string(volume.Warm), v.Size, v.Used).Without++
		}
	}
	for _, t := range sums {
		if price, ok := prices[t.Tier]; ok {
			cost := price * float64(t.Provisioned) / 1e9
			t.Cost = &cost
		}
		u.Teams = append(u.Teams, *t)
	}
	slices.SortFunc(u.Teams, func(a, b TeamUsage) int {
		return cmp.Or(cmp.Compare(a.Team, b.Team), cmp.Compare(a.Tier, b.Tier))
	})
	return u, err
}

// ParsePrices reads TIER=PRICE, such as warm=0.03.
func ParsePrices(list []string) (map[string]float64, error) {
	prices := map[string]float64{}
	for _, p := range list {
		tier, amount, _ := strings.Cut(p, "=")
		if _, err := volume.ParseTier(tier); err != nil {
			return nil, fmt.Errorf("--price %s: %s; write TIER=PRICE, such as warm=0.03", p, plain(err))
		}
		n, err := strconv.ParseFloat(amount, 64)
		if err != nil || !(n >= 0) || n > 1e9 {
			return nil, fmt.Errorf("--price %s: %q is not a price; write TIER=PRICE, such as warm=0.03", p, amount)
		}
		prices[tier] = n
	}
	return prices, nil
}

func (u Usage) print(w io.Writer) error {
	if len(u.Teams) == 0 {
		_, err := fmt.Fprintln(w, "There is no volume.")
		return err
	}
	head := []string{"TEAM", "TIER", "VOLUMES", "PROVISIONED", "USED"}
	if len(u.Prices) > 0 {
		head = append(head, "PER MONTH")
	}
	rows := [][]string{head}
	var total TeamUsage
	var cost float64
	for _, t := range u.Teams {
		row := []string{t.Team, t.Tier, strconv.Itoa(t.Volumes), inspect.Bytes(t.Provisioned), bytesOrNone(t.Used)}
		if len(u.Prices) > 0 {
			price := ""
			if t.Cost != nil {
				price = fmt.Sprintf("%.2f", *t.Cost)
				cost += *t.Cost
			}
			row = append(row, price)
		}
		rows = append(rows, row)
		total.Volumes += t.Volumes
		total.Provisioned += t.Provisioned
		if t.Used != nil {
			if total.Used == nil {
				total.Used = new(int64)
			}
			*total.Used += *t.Used
		}
	}
	sum := []string{"total", "", strconv.Itoa(total.Volumes), inspect.Bytes(total.Provisioned), bytesOrNone(total.Used)}
	if len(u.Prices) > 0 {
		sum = append(sum, fmt.Sprintf("%.2f", cost))
	}
	return table(w, append(rows, sum))
}
