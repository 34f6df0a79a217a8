// SPDX-License-Identifier: Apache-2.0
// fallbackd: parse, load, wire, run.
#include "app/daemon.hpp"
#include "app/heap.hpp"
#include "app/options.hpp"
#include "app/remove_stand_ins.hpp"
#include "config/load.hpp"
#include "telemetry/metrics.hpp"
#include "telemetry/profiler.hpp"

#include <csignal>
#include <cstdio>
#include <exception>

#include <boost/asio/io_context.hpp>
#include <boost/asio/signal_set.hpp>

namespace {

/// A SIGHUP must not end a daemon that starts or stops, when nothing waits for it. The set is never
/// destroyed: that would restore the default action. The signal is not ignored: started programs would
/// inherit that.
void takeSighup() {
  static auto* const loop = new boost::asio::io_context;
  static auto* const signals = new boost::asio::signal_set(*loop, SIGHUP);
  static_cast<void>(signals);
}

}  // namespace

int main(int argc, char** argv) {
  using namespace fallbackd;
  app::keepHeapSmall();
  try {
    const auto parsed = app::parseOptions(argc, argv);
    if (parsed.exitCode) return *parsed.exitCode;
    if (parsed.options.printMetrics) {
      const telemetry::Metrics metrics(FALLBACKD_VERSION);
      const auto page = telemetry::metricsPage(metrics.descriptions());
      return std::fputs(page.c_str(), stdout) < 0 || std::fflush(stdout) != 0 ? 1 : 0;
    }

    const auto loaded = config::load(parsed.options.configFile, parsed.options.dropInDir,
                                     parsed.options.listen, parsed.options.sources);
    for (const auto& diagnostic : loaded.diagnostics)
      std::fprintf(stderr, "%s\n", diagnostic.toString().c_str());
    if (loaded.config == nullptr) return 2;

    if (parsed.options.removeStandIns) return app::removeStandIns(*loaded.config);

    if (loaded.config->telemetry.profiling) telemetry::preloadProfiler(argv);

    takeSighup();
    app::Daemon daemon(parsed.options, loaded);
    return daemon.run();
  } catch (const std::exception& error) {
    std::fprintf(stderr, "fallbackd: %s\n", error.what());
    return 1;
  }
}
