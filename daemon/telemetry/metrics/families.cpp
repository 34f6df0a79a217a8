// SPDX-License-Identifier: Apache-2.0
#include "telemetry/metrics/families.hpp"

#include "domain/cause.hpp"

#include <utility>

namespace fallbackd::telemetry {

namespace {

using Label = MetricDescription::Label;

std::string causes() {
  std::string all;
  for (const auto name : causeNames()) all.append(all.empty() ? "" : ", ").append(name);
  return all;
}

const Label& workload() {
  static const Label kLabel{"workload", "name of the workload in the configuration"};
  return kLabel;
}

const Label& cause() {
  static const Label kLabel{"cause", causes()};
  return kLabel;
}

const Label& work() {
  static const Label kLabel{"work",
                            "read_file, prepare_volumes, open_log, copy_log, list_logs, run_program, "
                            "drop_log, open_fifos"};
  return kLabel;
}

}  // namespace

const std::vector<double>& secondsBuckets() {
  static const std::vector<double> kSeconds{0.001, 0.002, 0.003, 0.005, 0.0075, 0.01, 0.015, 0.02, 0.03,
                                            0.05,  0.075, 0.1,   0.15,  0.23,   0.3,  0.5,   0.75, 1,
                                            1.5,   2,     3.23,  5,     10,     30,   60,    120,  300};
  return kSeconds;
}

const std::vector<double>& phaseBuckets() {
  static const std::vector<double> kSeconds{0.001, 0.005, 0.02, 0.05, 0.1, 0.23, 0.5, 1, 3.23, 10, 60};
  return kSeconds;
}

MetricFamilies::Counters MetricFamilies::counter(const char* name, const char* help, Labels labels) {
  described.push_back({name, "counter", help, std::move(labels)});
  return prometheus::BuildCounter().Name(name).Help(help).Register(registry);
}

MetricFamilies::Gauges MetricFamilies::gauge(const char* name, const char* help, Labels labels) {
  described.push_back({name, "gauge", help, std::move(labels)});
  return prometheus::BuildGauge().Name(name).Help(help).Register(registry);
}

MetricFamilies::Histograms MetricFamilies::histogram(const char* name, const char* help, Labels labels) {
  described.push_back({name, "histogram", help, std::move(labels)});
  return prometheus::BuildHistogram().Name(name).Help(help).Register(registry);
}

MetricFamilies::MetricFamilies()
    : recoverySeconds(histogram("fallbackd_recovery_seconds",
                                "The RTO: from the sandbox's start until the fallback was ready.",
                                {workload(), cause()})),
      phaseSeconds(histogram("fallbackd_recovery_phase_seconds",
                             "How long each phase of a recovery took, of all workloads together.",
                             {{"phase", "detect, verify, prepare, health_check, exec, ready"}})),
      begun(counter("fallbackd_recoveries_begun_total", "Recoveries that began, by cause.",
                    {workload(), cause()})),
      recoveries(counter("fallbackd_recoveries_total", "Recoveries that ended, by outcome.",
                         {workload(),
                          cause(),
                          {"outcome", "handed_back, completed, pod_gone, withdrawn, failed"},
                          {"stage", "of a failure: which part failed; else empty"},
                          {"reason", "of a failure: why; else empty"}})),
      active(gauge("fallbackd_active_fallbacks", "Fallback processes that are running now.", {workload()})),
      served(counter("fallbackd_fallback_seconds_total",
                     "Time that fallbacks were ready, including those that are running now.", {workload()})),
      exits(counter("fallbackd_fallback_exits_total", "Fallback processes that exited unexpectedly, by kind.",
                    {workload(), {"kind", "exited, signaled, oom_killed, unknown"}})),
      gap(histogram("fallbackd_hand_back_gap_seconds",
                    "From the end of the fallback to the start of the real container's process.",
                    {workload()})),
      adoptions(counter("fallbackd_adoptions_total",
                        "Fallbacks of an earlier daemon that were found in the journal at the start.",
                        {{"result", "adopted, gone"}})),
      standIns(gauge("fallbackd_active_stand_ins", "Stand-ins that are running now.", {workload()})),
      standInEvents(counter(
          "fallbackd_stand_ins_total", "What became of stand-ins, and of fallbacks without one.",
          {workload(), {"result", "started, adopted, held, stopped, rejected, refused, failed, ended"}})),
      standInSeconds(histogram("fallbackd_stand_in_seconds", "How long each step of making a stand-in took.",
                               {workload(), {"phase", "image, create, start, whole, adopted, pod_ready"}})),
      pausedScopes(gauge("fallbackd_paused_scopes",
                         "Where no new fallback starts because an operator paused it.",
                         {{"scope", "node (0 or 1), namespace (how many)"}})),
      drillHolds(gauge("fallbackd_drill",
                       "1 while an operator rehearses an outage for one pod; its fallback is of the workload "
                       "fallbackd-drill.")),
      withheld(gauge("fallbackd_withheld_fallbacks",
                     "Containers whose fallback is due and is not started, by what an operator ordered.",
                     {{"by", "pause, observe"}})),
      observed(counter("fallbackd_observed_total", "Recoveries that mode observe decided and did not start.",
                       {workload(), {"result", "would_start, refused (its binary was not admitted)"}})),
      probes(counter("fallbackd_probe_pulls_total", "Probe pulls that ended, by result.",
                     {{"result", "pulled, undecided, or the cause of the failure"}})),
      unstick(
          counter("fallbackd_unstick_connections_total",
                  "Connections of containerd that stalled at a registry with the verdict timeout, by what "
                  "was done.",
                  {{"result",
                    "ended, gone (it had ended by itself), proxy (left alone: others use it), not_permitted "
                    "(no NET_ADMIN), not_supported (by the kernel), failed"}})),
      providerRuns(counter("fallbackd_credential_provider_runs_total",
                           "Runs of kubelet's credential providers that ended, by result.",
                           {{"result",
                             "given, none (no credentials for the image), failed, malformed, too_large, "
                             "timeout"}})),
      providersNotWaitedFor(counter("fallbackd_credential_provider_late_total",
                                    "Times that a probe pull went without a credential provider's answer, "
                                    "which did not come within 2 s.")),
      waiting(
          gauge("fallbackd_waiting_containers", "Containers of configured workloads that do not exist yet.")),
      notStarted(gauge(
          "fallbackd_not_started_containers",
          "Containers that do not exist startTimeout after their image was there, by what is known "
          "to hold kubelet up.",
          {{"held_up_by",
            "pull (of another image, which has stalled), back_off (after pulls that failed), unknown (no "
            "fallback is started: kubelet may be refusing the container)"}})),
      circuits(
          gauge("fallbackd_registry_circuit_state",
                "What is known about a registry: 0 closed (it answers), 1 half open (it is being asked, or "
                "failed and has not been asked for long), 2 open (it fails).",
                {{"host", "registries of the configuration; other: the worst of all others"}})),
      connected(gauge("fallbackd_containerd_connected",
                      "1 while the event stream is connected and the pod view is complete, else 0.")),
      connectionLosses(
          counter("fallbackd_containerd_connection_losses_total", "How often the event stream was lost.")),
      calls(counter("fallbackd_containerd_calls_total", "Calls sent to containerd.",
                    {{"method", "name of the gRPC method"}})),
      sandboxImage(
          gauge("fallbackd_sandbox_image_present",
                "1 if the pause image is on the node, 0 if it is missing and no pod can get a sandbox.")),
      podSourceUp(
          gauge("fallbackd_pod_source_up",
                "1 if the latest request to a source of pods, or of namespaces' pauses, was answered; of "
                "the configured ones.",
                {{"source", "kubelet, apiserver, namespaces"}})),
      podSourceSuccess(gauge("fallbackd_pod_source_last_success_timestamp_seconds",
                             "When a source of pods, or of namespaces' pauses, last answered.",
                             {{"source", "kubelet, apiserver, namespaces"}})),
      podSourceRequests(counter("fallbackd_pod_source_requests_total",
                                "Requests to sources of pods, or of namespaces' pauses, by result.",
                                {{"source", "kubelet, apiserver, namespaces"},
                                 {"result",
                                  "ok, unauthorized, forbidden, not_found, gone, throttled, server_error, "
                                  "refused, timeout, tls, unreachable, malformed, too_large, credentials"}})),
      podsKnown(gauge("fallbackd_pods_known", "Pods of this node whose specification is known.")),
      eventsUp(gauge("fallbackd_events_up",
                     "1 if the latest request about a Kubernetes Event succeeded; with "
                     "kubernetes.events.")),
      events(counter("fallbackd_events_total",
                     "Kubernetes Events about this node's pods, by what became of them; `failed` counts "
                     "requests that will be retried.",
                     {{"result",
                       "created, counted, failed, dropped_full, dropped_late, dropped_repeat, "
                       "dropped_refused"}})),
      mirrorRequests(counter(
          "fallbackd_mirror_requests_total", "Requests of containerd to the mirror.",
          {{"result",
            "served, upstream_well (404: containerd goes on to the registry), not_here (404: the node cannot "
            "complete it), stale (404: mirror.cached), excluded (404: mirror.images), no_token (404: the "
            "client does not know the token), failed, ping, invalid"}})),
      mirrorBytes(counter("fallbackd_mirror_served_bytes_total", "Bytes of images that the mirror served.")),
      mirrorImages(counter("fallbackd_mirror_images_total",
                           "Images that the mirror served because their registry was down, each time that "
                           "containerd asked for one.",
                           {{"by", "tag, digest"}, cause()})),
      mirrorChecks(counter("fallbackd_mirror_checks_total",
                           "Times that the mirror checked whether a registry is healthy.",
                           {{"result", "well, or the cause of the failure"}})),
      workloads(gauge("fallbackd_workload_info", "Always 1: what the configuration says about a workload.",
                      {workload(),
                       {"workload_namespace", "namespace of its pods; empty: every one"},
                       {"binary", "NAME@VERSION of its fallback"},
                       {"image", "reference that its pods pull"}})),
      admitted(gauge("fallbackd_workload_binary_admitted",
                     "1 if a recovery would find an admitted binary now, 0 if it would fail.",
                     {workload(), {"binary", "NAME@VERSION"}})),
      coverage(
          gauge("fallbackd_workload_coverage",
                "1 for the state that the workload's binary in the cache is in, 0 for the others.",
                {workload(),
                 {"state", "admitted, grace (expired, within expiryGrace), expired, missing, refused"}})),
      expiry(gauge("fallbackd_workload_binary_expiry_timestamp_seconds",
                   "When the admitted binary's attestation expires, in Unix time.", {workload()})),
      graceUses(counter("fallbackd_expiry_grace_uses_total",
                        "Recoveries that used an expired binary within expiryGrace.",
                        {{"binary", "NAME@VERSION"}})),
      rollbacks(gauge("fallbackd_version_rollback",
                      "1 while a rollback of the configuration (cache.rollbacks) lowers the version floor of "
                      "this name for choosers, 0 if it has no effect or none any more.",
                      {{"name", "of the binary"}})),
      imageSkew(gauge("fallbackd_workload_version_skew",
                      "1 if the version in the workload's image tag is not that of its binary, 0 if it is; "
                      "absent where the tag names no version.",
                      {workload()})),
      containers(
          gauge("fallbackd_workload_containers",
                "Real containers of the workload on this node, by whether the version in their image's "
                "tag is that of the binary.",
                {workload(),
                 {"version",
                  "same, other, unknown (no version in the tag, or no tag in the workload's repository)"}})),
      podCoverage(gauge(
          "fallbackd_coverage",
          "Containers on this node by whether they would be rescued if their image could not be pulled.",
          {{"verdict",
            "rescued, limited, not_needed, init_container, observed, paused, not_known, not_covered, "
            "annotation_ignored, not_allowed, no_binary, cannot_tell, not_admitted, not_inherited; see "
            "docs/coverage.md"}})),
      admissions(counter("fallbackd_admissions_total", "Admissions of binaries.",
                         {{"result", "admitted, or the reason of the refusal"}})),
      residentBytes(
          gauge("fallbackd_cache_resident_bytes", "Sealed copies of binaries that are held in memory.")),
      budgetBytes(gauge("fallbackd_cache_memory_budget_bytes", "What they may take, as configured.")),
      hashedBytes(counter("fallbackd_cache_hashed_bytes_total",
                          "Bytes that admissions read from the cache and hashed.")),
      reloads(counter("fallbackd_config_loads_total", "Times the configuration was read.",
                      {{"result", "ok, refused"}})),
      reloadOk(gauge("fallbackd_config_last_load_successful",
                     "1 if the configuration on disk is the one in use, else 0.")),
      reloadTime(gauge("fallbackd_config_last_success_timestamp_seconds",
                       "When the configuration in use was read, in Unix time.")),
      journalOperations(counter("fallbackd_journal_operations_total", "Changes of the journal on disk.",
                                {{"operation", "write, remove"}, {"result", "ok, failed"}})),
      journalEntries(gauge("fallbackd_journal_entries",
                           "Fallbacks in the journal: what the next daemon would take over.")),
      journalDamaged(gauge("fallbackd_journal_damaged_entries",
                           "Entries that the daemon could not read at its start and left where they are.")),
      spawnerRestarts(counter("fallbackd_spawner_restarts_total",
                              "Times the spawner process died and was started again.")),
      workers(gauge("fallbackd_workers", "Worker processes for files that pods control.")),
      workersStuck(
          gauge("fallbackd_workers_stuck",
                "Workers that were killed because a file or pipe did not respond, and have not ended yet.")),
      workerMissed(counter("fallbackd_worker_deadlines_missed_total",
                           "Tasks on pods' files that missed their deadline and were given up.", {work()})),
      workerRefused(
          counter("fallbackd_worker_tasks_refused_total",
                  "Tasks that were not started because workers hang on files or pipes of the same pod "
                  "or namespace.",
                  {work()})),
      loopStalls(counter("fallbackd_loop_stalls_total",
                         "Times that the daemon's event loop hung for a second; the log has the stack.")),
      loopStalled(counter("fallbackd_loop_stalled_seconds_total",
                          "How long it hung, counted when it responds again.")),
      build(gauge("fallbackd_build_info", "Always 1; the version is in the label.",
                  {{"version", "of fallbackd"}})),
      processCpu(counter("process_cpu_seconds_total", "User and system time of the daemon.")),
      processStart(gauge("process_start_time_seconds", "When the daemon started, in Unix time.")),
      processResident(gauge("process_resident_memory_bytes", "Resident memory of the daemon.")),
      processVirtual(gauge("process_virtual_memory_bytes", "Address space of the daemon.")),
      processThreads(gauge("process_threads", "Threads of the daemon.")),
      processFds(gauge("process_open_fds", "Open file descriptors of the daemon.")),
      processMaxFds(gauge("process_max_fds", "How many file descriptors the daemon may open.")) {}

}  // namespace fallbackd::telemetry
