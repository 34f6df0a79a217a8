// SPDX-License-Identifier: Apache-2.0
#include "telemetry/exposition.hpp"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <utility>

namespace fallbackd::telemetry {

namespace {

using prometheus::ClientMetric;
using prometheus::MetricFamily;
using prometheus::MetricType;

constexpr double kInfinity = std::numeric_limits<double>::infinity();
constexpr std::string_view kTotal = "_total";

/// Label names contain no '"', so two series never have the same key.
void appendLabelKey(std::string& key, std::string_view name, std::string_view value) {
  key.append(name).append("\"").append(value).append("\n");
}

std::string_view typeName(MetricType type, Format format) {
  switch (type) {
    case MetricType::Counter:
      return "counter";
    case MetricType::Gauge:
      return "gauge";
    case MetricType::Summary:
      return "summary";
    case MetricType::Histogram:
      return "histogram";
    case MetricType::Untyped:
      break;
  }
  return format == Format::open_metrics ? "unknown" : "untyped";
}

/// The shortest text that parses to the same number.
void appendNumber(std::string& out, double value) {
  if (std::isnan(value)) {
    out.append("NaN");
  } else if (std::isinf(value)) {
    out.append(value > 0 ? "+Inf" : "-Inf");
  } else {
    std::array<char, 32> digits{};
    const auto end = std::to_chars(digits.data(), digits.data() + digits.size(), value).ptr;
    out.append(digits.data(), end);
  }
}

/// Bucket bounds as OpenMetrics requires them, "1.0"; the same in both formats, or a bucket would be two
/// series.
void appendBound(std::string& out, double bound) {
  const auto before = out.size();
  appendNumber(out, bound);
  if (std::isfinite(bound) && out.find_first_of(".e", before) == std::string::npos) out.append(".0");
}

void appendEscaped(std::string& out, std::string_view text, bool quotes) {
  for (const char c : text) {
    if (c == '\\') {
      out.append("\\\\");
    } else if (c == '\n') {
      out.append("\\n");
    } else if (c == '"' && quotes) {
      out.append("\\\"");
    } else {
      out.push_back(c);
    }
  }
}

/// Writes one family; renders the labels of a series once, however many buckets it has.
class FamilyWriter {
 public:
  FamilyWriter(std::string& out, const MetricFamily& family, Format format, const Exemplars& exemplars)
      : out_(out), family_(family), format_(format), exemplars_(exemplars) {}

  void write() {
    std::string_view name = family_.name;
    if (open() && family_.type == MetricType::Counter && name.ends_with(kTotal)) {
      name.remove_suffix(kTotal.size());
    }
    out_.append("# HELP ").append(name).append(" ");
    appendEscaped(out_, family_.help, open());
    out_.append("\n# TYPE ").append(name).append(" ").append(typeName(family_.type, format_)).append("\n");
    for (const auto& metric : family_.metric) series(metric);
  }

 private:
  [[nodiscard]] bool open() const { return format_ == Format::open_metrics; }

  void series(const ClientMetric& metric) {
    labels_.clear();
    for (const auto& label : metric.label) {
      if (!labels_.empty()) labels_.push_back(',');
      labels_.append(label.name).append("=\"");
      appendEscaped(labels_, label.value, true);
      labels_.push_back('"');
    }
    const auto* points = open() ? exemplars_.find(family_.name, metric.label) : nullptr;
    switch (family_.type) {
      case MetricType::Counter:
        line("", nullptr, metric.counter.value);
        exemplar(points, kInfinity);
        break;
      case MetricType::Gauge:
        line("", nullptr, metric.gauge.value);
        break;
      case MetricType::Histogram:
        histogram(metric.histogram, points);
        break;
      case MetricType::Summary:
      case MetricType::Untyped:
        line("", nullptr, metric.untyped.value);  // we use neither
        break;
    }
    if (out_.back() != '\n') out_.push_back('\n');
  }

  void histogram(const ClientMetric::Histogram& histogram, const Exemplars::OfSeries* points) {
    for (const auto& bucket : histogram.bucket) {
      line("_bucket", &bucket.upper_bound, static_cast<double>(bucket.cumulative_count));
      exemplar(points, bucket.upper_bound);
      out_.push_back('\n');
    }
    line("_sum", nullptr, histogram.sample_sum);
    out_.push_back('\n');
    line("_count", nullptr, static_cast<double>(histogram.sample_count));
  }

  /// Without its closing brace.
  void line(std::string_view suffix, const double* bound, double value) {
    out_.append(family_.name).append(suffix);
    if (!labels_.empty() || bound != nullptr) {
      out_.append("{").append(labels_);
      if (bound != nullptr) {
        out_.append(labels_.empty() ? "le=\"" : ",le=\"");
        appendBound(out_, *bound);
        out_.push_back('"');
      }
      out_.push_back('}');
    }
    out_.push_back(' ');
    appendNumber(out_, value);
  }

  void exemplar(const Exemplars::OfSeries* points, double bound) {
    if (points == nullptr) return;
    const auto found = points->find(bound);
    if (found == points->end()) return;
    out_.append(" # {recovery=\"");
    appendEscaped(out_, found->second.recovery, true);
    out_.append("\"} ");
    appendNumber(out_, found->second.value);
    std::array<char, 32> digits{};
    const auto end = std::to_chars(digits.data(), digits.data() + digits.size(), found->second.at,
                                   std::chars_format::fixed, 3)
                         .ptr;
    out_.append(" ").append(digits.data(), end);
  }

  std::string& out_;
  const MetricFamily& family_;
  Format format_;
  const Exemplars& exemplars_;
  std::string labels_;
};

std::string keyOf(const std::string& family, const Exemplars::Labels& labels) {
  std::string key = family + "\n";
  for (const auto& [name, value] : labels) appendLabelKey(key, name, value);
  return key;
}

}  // namespace

void Exemplars::observed(const std::string& family, const Labels& labels, std::span<const double> bounds,
                         Exemplar exemplar) {
  const auto bucket = std::lower_bound(bounds.begin(), bounds.end(), exemplar.value);
  series_[keyOf(family, labels)][bucket == bounds.end() ? kInfinity : *bucket] = std::move(exemplar);
}

void Exemplars::counted(const std::string& family, const Labels& labels, Exemplar exemplar) {
  series_[keyOf(family, labels)][kInfinity] = std::move(exemplar);
}

const Exemplars::OfSeries* Exemplars::find(const std::string& family,
                                           const std::vector<ClientMetric::Label>& labels) const {
  std::string key = family + "\n";
  for (const auto& label : labels) appendLabelKey(key, label.name, label.value);
  const auto found = series_.find(key);
  return found == series_.end() ? nullptr : &found->second;
}

std::string expose(const std::vector<MetricFamily>& families, Format format, const Exemplars& exemplars) {
  std::string out;
  for (const auto& family : families) FamilyWriter(out, family, format, exemplars).write();
  if (format == Format::open_metrics) out.append("# EOF\n");
  return out;
}

}  // namespace fallbackd::telemetry
