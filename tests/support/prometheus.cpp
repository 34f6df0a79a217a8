// SPDX-License-Identifier: Apache-2.0
#include "prometheus.hpp"

#include "base/clock.hpp"
#include "base/strings.hpp"
#include "http.hpp"
#include "run_dir.hpp"
#include "sys/file.hpp"
#include "wait.hpp"

#include <array>
#include <cctype>
#include <cstdio>
#include <sstream>

#include <boost/json.hpp>
#include <yaml-cpp/yaml.h>

namespace fallbackd::e2e {

namespace {

namespace fs = std::filesystem;
namespace json = boost::json;

constexpr auto kDeadline = std::chrono::seconds(30);

std::string percentEncoded(const std::string& text) {
  std::string out;
  for (const char c : text) {
    if (std::isalnum(static_cast<unsigned char>(c)) != 0) {
      out.push_back(c);
    } else {
      const auto byte = static_cast<std::byte>(c);
      out.append("%").append(toHex({&byte, 1}));
    }
  }
  return out;
}

std::string decimal(double seconds) {
  std::array<char, 32> text{};
  std::snprintf(text.data(), text.size(), "%.3f", seconds);
  return text.data();
}

/// The YAML of a rule of relabel_configs, converted from the operator's camelCase.
std::string relabeling(const YAML::Node& rule) {
  std::string labels;
  for (const auto& label : rule["sourceLabels"]) {
    labels.append(labels.empty() ? "" : ", ").append(label.as<std::string>());
  }
  std::string yaml = "  - {source_labels: [" + labels + "]";
  for (const auto& [theirs, ours] : std::map<std::string, std::string>{{"targetLabel", "target_label"},
                                                                       {"replacement", "replacement"},
                                                                       {"regex", "regex"},
                                                                       {"action", "action"}}) {
    if (rule[theirs]) yaml.append(", " + ours + ": '" + rule[theirs].as<std::string>() + "'");
  }
  return yaml + "}\n";
}

/// What the operator makes of a PodMonitor, except for the source of the pods: its selector, its labels and
/// its own relabelings, in the operator's order.
std::string configuration(const std::vector<ScrapeTarget>& targets, const fs::path& monitor,
                          const fs::path& rules) {
  constexpr const char* kNamespace = "fallbackd-system";
  const auto object = YAML::LoadFile(monitor);
  const auto name = object["metadata"]["name"].as<std::string>();
  const auto endpoint = object["spec"]["podMetricsEndpoints"][0];
  std::ostringstream yaml;
  yaml << "global: {scrape_interval: 1s, scrape_timeout: 1s, evaluation_interval: 1s}\n";
  if (!rules.empty()) yaml << "rule_files: ['" << rules.string() << "']\n";
  yaml << "scrape_configs:\n- job_name: podMonitor/" << kNamespace << "/" << name
       << "/0\n  metrics_path: " << endpoint["path"].as<std::string>() << "\n  static_configs:\n";
  for (const auto& target : targets) {
    yaml << "  - targets: ['127.0.0.1:" << target.port << "']\n    labels:\n"
         << "      __meta_kubernetes_namespace: " << kNamespace << "\n"
         << "      __meta_kubernetes_pod_name: fallbackd-" << target.node << "\n"
         << "      __meta_kubernetes_pod_node_name: " << target.node << "\n"
         << "      __meta_kubernetes_pod_container_name: fallbackd\n"
         << "      __meta_kubernetes_pod_container_port_name: metrics\n"
         << "      __meta_kubernetes_pod_label_app_kubernetes_io_name: fallbackd\n"
         << "      __meta_kubernetes_pod_label_fallbackd_io_component: daemon\n"
         << "      __meta_kubernetes_pod_phase: Running\n";
  }
  yaml << "  relabel_configs:\n"
       << "  - {source_labels: [job], target_label: __tmp_prometheus_job_name}\n"
       << "  - {source_labels: [__meta_kubernetes_pod_phase], regex: (Failed|Succeeded), action: drop}\n";
  for (const auto& label : object["spec"]["selector"]["matchLabels"]) {
    auto meta = label.first.as<std::string>();
    for (char& c : meta) c = std::isalnum(static_cast<unsigned char>(c)) != 0 ? c : '_';
    yaml << "  - {source_labels: [__meta_kubernetes_pod_label_" << meta
         << "], regex: " << label.second.as<std::string>() << ", action: keep}\n";
  }
  yaml << "  - {source_labels: [__meta_kubernetes_pod_container_port_name], regex: "
       << endpoint["port"].as<std::string>() << ", action: keep}\n"
       << "  - {source_labels: [__meta_kubernetes_namespace], target_label: namespace}\n"
       << "  - {source_labels: [__meta_kubernetes_pod_container_name], target_label: container}\n"
       << "  - {source_labels: [__meta_kubernetes_pod_name], target_label: pod}\n"
       << "  - {target_label: job, replacement: " << kNamespace << "/" << name << "}\n"
       << "  - {target_label: endpoint, replacement: " << endpoint["port"].as<std::string>() << "}\n";
  for (const auto& rule : endpoint["relabelings"]) yaml << relabeling(rule);
  return yaml.str();
}

}  // namespace

double Prometheus::now() {
  return std::chrono::duration<double>(Wall::now().time_since_epoch()).count();
}

Result<std::unique_ptr<Prometheus>> Prometheus::start(const std::vector<ScrapeTarget>& targets,
                                                      const fs::path& monitor, const fs::path& rules) {
  std::unique_ptr<Prometheus> prometheus(new Prometheus);
  const auto folder = makeRunDir("prometheus");
  FB_TRY(const auto dir, sys::openDir(Stage::cli, folder));
  FB_CHECK(sys::replaceFile(Stage::cli, dir, "prometheus.yml", configuration(targets, monitor, rules), 0644));
  FB_TRY(auto free, DeadPort::make());
  prometheus->port_ = free.release();
  prometheus->targets_ = targets.size();
  FB_TRY(prometheus->process_,
         ChildProcess::start({.argv = {"prometheus", "--config.file=" + (folder / "prometheus.yml").string(),
                                       "--storage.tsdb.path=" + (folder / "data").string(),
                                       "--web.listen-address=127.0.0.1:" + std::to_string(prometheus->port_),
                                       "--enable-feature=exemplar-storage", "--log.level=warn"},
                              .env = {},
                              .output = logFile("prometheus")}));
  FB_CHECK(httpGetOk("127.0.0.1", prometheus->port_, "/-/ready", kDeadline));
  FB_CHECK(prometheus->scrapes(1));
  return prometheus;
}

Result<json::value> Prometheus::api(const std::string& path,
                                    const std::map<std::string, std::string>& parameters) const {
  std::string query;
  for (const auto& [name, value] : parameters) {
    query.append(query.empty() ? "?" : "&").append(name).append("=").append(percentEncoded(value));
  }
  FB_TRY(const auto answer, httpGet("127.0.0.1", port_, "/api/v1/" + path + query));
  if (answer.status != 200) return fail(Stage::cli, Reason::protocol, path + query + ": " + answer.body);
  return json::parse(answer.body).at("data");
}

Result<json::array> Prometheus::query(const std::string& expression, std::optional<double> at) const {
  std::map<std::string, std::string> parameters{{"query", expression}};
  if (at) parameters["time"] = decimal(*at);
  FB_TRY(const auto data, api("query", parameters));
  return data.at("result").as_array();
}

Result<json::array> Prometheus::queryRange(const std::string& expression, double from, double to,
                                           double step) const {
  FB_TRY(
      const auto data,
      api("query_range",
          {{"query", expression}, {"start", decimal(from)}, {"end", decimal(to)}, {"step", decimal(step)}}));
  return data.at("result").as_array();
}

Result<std::vector<std::string>> Prometheus::labelValues(const std::string& selector,
                                                         const std::string& label) const {
  FB_TRY(const auto data, api("label/" + label + "/values", {{"match[]", selector}}));
  std::vector<std::string> values;
  for (const auto& value : data.as_array()) values.emplace_back(value.as_string());
  return values;
}

Result<json::array> Prometheus::exemplars(const std::string& selector, double from, double to) const {
  FB_TRY(const auto data,
         api("query_exemplars", {{"query", selector}, {"start", decimal(from)}, {"end", decimal(to)}}));
  return data.as_array();
}

Result<> Prometheus::scrapes(int times) {
  const auto least = [this] {
    const auto counted =
        query("min(count_over_time(up[1h])) and (count(up) == " + std::to_string(targets_) + ")");
    if (!counted || counted->empty()) return 0;
    return std::stoi(std::string(counted->at(0).at("value").at(1).as_string()));
  };
  const int wanted = least() + times;
  if (waitUntil(kDeadline + std::chrono::seconds(2 * times), [&] { return least() >= wanted; })) return {};
  return fail(Stage::cli, Reason::timeout, "Prometheus does not scrape every target");
}

}  // namespace fallbackd::e2e
