// SPDX-License-Identifier: Apache-2.0
// How fallbackd classifies a pull that fails in a chosen way, on a real containerd: one pod and one workload
// per row, printed as a table in the test's output.
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

/// Longer than any successful step takes.
constexpr auto kDetectionCeiling = std::chrono::seconds(60);

/// The default of detection.stallTimeout.
constexpr double kStallTimeoutMs = 1000;
/// The default of detection.responseTimeout.
constexpr double kResponseTimeoutMs = 3000;
/// How much later than promised a verdict may come on a busy machine. On an idle machine it is usually about
/// 10 ms.
constexpr double kPromptMs = 250;
/// The same if containerd stores something before the fault and syncs it to disk.
constexpr double kStoredMs = 600;

/// Whether containerd uses HTTP or HTTPS for the registry.
enum class Speech : std::uint8_t { http, https, trusted };

struct Expected {
  std::string cause;
  bool recovered = false;
};

/// The fault of a pull, and the expected classification.
struct Case {
  std::string name;
  RegistryFault fault = {};
  std::string expected;  // the cause, "pulled", or "none" (the container is ignored)
  bool recovered = false;
  std::string host = {};  // an address without a registry of ours
  Speech speech = Speech::http;
  std::optional<Certificate> certificate = {};
  double limitMs = kPromptMs;  // for the verdict; 0: no limit
  std::size_t ballast = 0;     // this many more bytes in the layer
  /// Replaces the image in the row's own registry. ROW stands for the row's label.
  std::string image = {};
  /// The hosts.toml of its host: the hosts to request images from, in this order; "" is the row's own
  /// registry. Empty: none.
  std::vector<std::string> hosts = {};
  std::optional<Certificate> trusts = {};  // of `hosts`, and of the hosts that they redirect to
  /// The results with containerd 1 and 2, if their errors hide the real cause.
  std::optional<Expected> on1 = {};
  std::optional<Expected> on2 = {};
  std::function<void(PodSpec&)> changes = {};  // changes the usual pod
  std::string workload = {};                   // more lines for it
  bool sample = false;                         // runs in every test run, not only in the report
};

RegistryFault withStatus(unsigned status, std::string challenge = {});
RegistryFault withToken(unsigned status);

/// A certificate that is valid for this many hours from now.
Certificate certificate(std::chrono::hours end);

/// A pod of one case and the image reference of its workload.
struct Row {
  Case what;
  std::string kind;  // "tag" or "digest"
  std::string label;
  std::string image;
  std::unique_ptr<FaultRegistry> registry;
  std::optional<Pod> pod = {};  // the pod, once it runs
};

/// Parameter: the containerd, "installed" or the suite that scripts/fetch-suites took it from.
class Detection : public testing::TestWithParam<std::string> {
 protected:
  void open(NodeOptions node = {});
  void addRow(Case what, const std::string& kind);
  /// Configures all rows, starts a pod for each and checks its verdict. The first row runs beside all others,
  /// so it may take long.
  void judgeAll();
  /// Writes the table beside those of other versions of containerd, for scripts/report.
  void write(const std::string& part) const;
  std::unique_ptr<Shop> shop_;
  std::vector<Row> rows_;

 private:
  /// One workload a row.
  void configure();
  void startPod(Row& row);
  /// Waits for fallbackd's verdict.
  void judge(const Row& row);
  /// Pods without a fallback still have none after their registries were probed again.
  void judgeAgain();
  void printHead() const;
  [[nodiscard]] Expected expected(const Row& row) const;
  [[nodiscard]] Result<> speak(const Case& what, const std::string& host) const;
  [[nodiscard]] Result<> setUpHosts(const Row& row) const;

  boost::json::array table_;
};

/// Whether scripts/report runs this test.
bool reports();

}  // namespace fallbackd::e2e
