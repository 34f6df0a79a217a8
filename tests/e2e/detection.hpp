// SPDX-License-Identifier: Apache-2.0
// What fallbackd makes of a pull that fails in a chosen way, on a real containerd: one pod and one workload a
// row, and a table of them in the test's output.
#pragma once

#include "e2e_gtest.hpp"
#include "fault_registry.hpp"
#include "shop.hpp"

#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include <boost/json.hpp>

namespace fallbackd::e2e {

/// Separates working from broken.
constexpr auto kDetectionCeiling = std::chrono::seconds(60);

/// The default of detection.stallTimeout.
constexpr double kStallTimeoutMs = 1000;
/// That of detection.responseTimeout.
constexpr double kResponseTimeoutMs = 3000;
/// A verdict may come this much later than promised, on a machine that does other work beside. About 10 ms
/// are usual on an idle one.
constexpr double kPromptMs = 250;
/// The same where containerd stores something before the fault, which it syncs to the disk.
constexpr double kStoredMs = 600;

/// How containerd is told to speak to the registry.
enum class Speech : std::uint8_t { http, https, trusted };

struct Expected {
  std::string cause;
  bool recovered = false;
};

/// What is done to a pull, and what fallbackd has to make of it.
struct Case {
  std::string name;
  Fault fault = {};
  std::string expected;  // the cause, "pulled", or "none": not even looked at
  bool recovered = false;
  std::string host = {};  // an address without a registry of ours behind it
  Speech speech = Speech::http;
  std::optional<Certificate> certificate = {};
  double limitMs = kPromptMs;  // until the verdict; 0: nothing is promised
  std::size_t ballast = 0;     // so many bytes more in the layer
  /// Instead of an image of the row's own registry. ROW stands for the row's label.
  std::string image = {};
  /// Where its host's images are asked for, in this order; "" is the row's own registry. Empty: not set up.
  std::vector<std::string> hosts = {};
  std::optional<Certificate> trusts = {};  // of `hosts`, and where they redirect to
  /// What the errors of containerd 1 and 2 let one see, where they hide the rest.
  std::optional<Expected> on1 = {};
  std::optional<Expected> on2 = {};
  std::function<void(PodSpec&)> changes = {};  // to the usual pod
  std::string workload = {};                   // further lines of it
  bool sample = false;                         // runs in every test run, not just in the report
};

Fault withStatus(unsigned status, std::string challenge = {});
Fault withToken(unsigned status);

/// Valid until so many hours from now.
Certificate certificate(std::chrono::hours end);

/// A pod of one case and the reference that its workload has.
struct Row {
  Case what;
  std::string kind;  // "tag" or "digest"
  std::string label;
  std::string image;
  std::unique_ptr<FaultRegistry> registry;
  std::optional<Pod> pod = {};  // where it runs
};

/// By the containerd: "installed", or the suite that scripts/fetch-suites has it from.
class Detection : public testing::TestWithParam<std::string> {
 protected:
  void open(NodeOptions node = {});
  void addRow(Case what, const std::string& kind);
  /// Configures all rows, starts a pod for each and judges it. The first runs beside all the others, so it
  /// may take long.
  void judgeAll();
  /// Beside the others of this containerd, for scripts/report.
  void write(const std::string& part) const;
  std::unique_ptr<Shop> shop_;
  std::vector<Row> rows_;

 private:
  /// One workload a row.
  void configure();
  void startPod(Row& row);
  /// Waits for what fallbackd makes of it.
  void judge(const Row& row);
  /// Those that got no fallback get none either when their registries have been asked again.
  void judgeAgain();
  void printHead() const;
  [[nodiscard]] Expected expected(const Row& row) const;
  [[nodiscard]] Result<> speak(const Case& what, const std::string& host) const;
  [[nodiscard]] Result<> setUpHosts(const Row& row) const;

  boost::json::array table_;
};

/// Whether scripts/report runs the test.
bool reports();

}  // namespace fallbackd::e2e
