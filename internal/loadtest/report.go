package loadtest

import (
	"bytes"
	_ "embed"
	"fmt"
	"html/template"
	"image/color"
	"math"
	"os"
	"regexp"
	"strconv"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
	"gonum.org/v1/plot/vg/vgsvg"
)

//go:embed report.html
var reportHTML string

var reportPage = template.Must(template.New("report").Parse(reportHTML))

var (
	blue   = color.RGBA{R: 0x1f, G: 0x5f, B: 0xbf, A: 0xff}
	orange = color.RGBA{R: 0xd9, G: 0x6a, B: 0x0b, A: 0xff}
	grey   = color.RGBA{R: 0x8a, G: 0x8f, B: 0x98, A: 0xff}
)

// Report writes the result to path as one HTML page that loads nothing else. It shows the table,
// throughput and latency over time, and the distribution of the latency.
func (r Result) Report(path string) error {
	var table bytes.Buffer
	if err := r.Table(&table); err != nil {
		return fmt.Errorf("report: %w", err)
	}
	page := struct {
		Result
		Table string
		Plots []template.HTML
		When  string
	}{Result: r, Table: table.String(), When: r.At.UTC().Format("2006-01-02 15:04:05 UTC")}
	for _, draw := range []func() (*plot.Plot, error){r.plotThroughput, r.plotLatency, r.plotDistribution} {
		p, err := draw()
		if err != nil {
			return fmt.Errorf("report: plot: %w", err)
		}
		svg, err := inlineSVG(p)
		if err != nil {
			return fmt.Errorf("report: plot: %w", err)
		}
		page.Plots = append(page.Plots, svg)
	}
	var b bytes.Buffer
	if err := reportPage.Execute(&b, page); err != nil {
		return fmt.Errorf("report: %w", err)
	}
	if err := os.WriteFile(path, b.Bytes(), 0o644); err != nil {
		return fmt.Errorf("report: %w", err)
	}
	return nil
}

// A curve is one line of a plot.
type curve struct {
	name   string
	color  color.Color
	points plotter.XYs
}

// newPlot returns a plot of the curves that have points.
func newPlot(title, x, y string, lines ...curve) (*plot.Plot, error) {
	p := plot.New()
	p.Title.Text, p.X.Label.Text, p.Y.Label.Text = title, x, y
	p.Title.TextStyle.Font.Size, p.Title.Padding = 13, 6
	p.Legend.Top, p.Legend.Left, p.Legend.Padding = true, true, 3
	grid := plotter.NewGrid()
	grid.Horizontal.Color, grid.Vertical.Color = color.Gray{Y: 0xe4}, color.Gray{Y: 0xe4}
	p.Add(grid)
	for _, l := range lines {
		if len(l.points) == 0 {
			continue
		}
		curve, err := plotter.NewLine(l.points)
		if err != nil {
			return nil, err
		}
		curve.Color, curve.Width = l.color, vg.Points(1.5)
		p.Add(curve)
		p.Legend.Add(l.name, curve)
	}
	return p, nil
}

func (r Result) samplePoints(value func(Sample) float64) plotter.XYs {
	var points plotter.XYs
	for _, s := range r.Samples {
		points = append(points, plotter.XY{X: s.At.Seconds(), Y: value(s)})
	}
	return points
}

func (r Result) plotThroughput() (*plot.Plot, error) {
	lines := []curve{{"answers", blue, r.samplePoints(func(s Sample) float64 { return s.Answers })}}
	if r.Delivered > 0 {
		lines = append(lines, curve{"deliveries", orange, r.samplePoints(func(s Sample) float64 { return s.Deliveries })})
	}
	p, err := newPlot("Throughput", "seconds", "per second", lines...)
	if err != nil {
		return nil, err
	}
	p.Y.Min = 0
	p.Y.Tick.Marker = thousands{}
	return p, nil
}

func (r Result) plotLatency() (*plot.Plot, error) {
	p, err := newPlot("Latency", "seconds", "ms",
		curve{"max", grey, r.samplePoints(func(s Sample) float64 { return toMilliseconds(s.Max) })},
		curve{"p99", orange, r.samplePoints(func(s Sample) float64 { return toMilliseconds(s.P99) })},
		curve{"p50", blue, r.samplePoints(func(s Sample) float64 { return toMilliseconds(s.P50) })})
	if err != nil {
		return nil, err
	}
	p.Y.Min = 0
	return p, nil
}

// plotDistribution draws latency over quantiles. Each further nine (90 %, 99 %, 99.9 %) is one step
// to the right.
func (r Result) plotDistribution() (*plot.Plot, error) {
	var points plotter.XYs
	for _, q := range r.Distribution {
		if q.Share < 1 {
			points = append(points, plotter.XY{X: -math.Log10(1 - q.Share), Y: toMilliseconds(q.At)})
		}
	}
	p, err := newPlot("Distribution of latency", "share that was at most this slow", "ms", curve{"all", blue, points})
	if err != nil {
		return nil, err
	}
	p.Y.Min, p.X.Min, p.X.Max = 0, 0, max(3, math.Ceil(p.X.Max))
	var ticks []plot.Tick
	for nines := 0; float64(nines) <= p.X.Max; nines++ {
		ticks = append(ticks, plot.Tick{Value: float64(nines), Label: strconv.FormatFloat(100-math.Pow(10, float64(2-nines)), 'g', -1, 64) + " %"})
	}
	p.X.Tick.Marker = plot.ConstantTicks(ticks)
	return p, nil
}

// thousands labels an axis with 10,000 instead of 1e+04.
type thousands struct{}

func (thousands) Ticks(low, high float64) []plot.Tick {
	ticks := plot.DefaultTicks{}.Ticks(low, high)
	for i := range ticks {
		if ticks[i].Label != "" && math.Abs(ticks[i].Value) >= 1000 {
			ticks[i].Label = groupDigits(int64(ticks[i].Value))
		}
	}
	return ticks
}

var (
	svgPrologue = regexp.MustCompile(`(?s)^.*?(<svg)`)
	svgFont     = regexp.MustCompile(`font-family:[^;"]*`)
)

// inlineSVG returns a plot as an SVG element for an HTML page, in the page's own font.
func inlineSVG(p *plot.Plot) (template.HTML, error) {
	c := vgsvg.New(vg.Points(640), vg.Points(240))
	p.Draw(draw.Crop(draw.New(c), 4, -20, 4, -4))
	var b bytes.Buffer
	if _, err := c.WriteTo(&b); err != nil {
		return "", err
	}
	svg := svgPrologue.ReplaceAllString(b.String(), "$1")
	return template.HTML(svgFont.ReplaceAllString(svg, "font-family:system-ui,sans-serif")), nil
}
