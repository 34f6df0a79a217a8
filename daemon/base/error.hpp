// SPDX-License-Identifier: Apache-2.0
// The one error type of the project.
//
// Stage says which part of a recovery failed, Reason says why. Both are closed lists because they are also
// metric labels, log fields and event reasons; free text goes into `context`.
#pragma once

#include <cerrno>
#include <cstdint>
#include <source_location>
#include <string>
#include <string_view>

#include <tl/expected.hpp>

namespace fallbackd {

// clang-format does not converge on these lists.
// clang-format off
// The order is stable: a stage crosses the spawner's socket as a number.
#define FALLBACKD_STAGES(X) \
  X(cli) X(config) X(containerd) X(detection) X(sandbox) X(admission) X(spawner) X(join) X(rootfs) \
  X(cgroup) X(identity) X(health_check) X(exec) X(readiness) X(logs) X(run) X(hand_back) X(journal) \
  X(telemetry) X(kube)

#define FALLBACKD_REASONS(X) \
  /* generic */ \
  X(system) X(usage) X(invalid) X(not_found) X(already_exists) X(timeout) X(cancelled) X(unavailable) \
  X(protocol) X(too_large) X(not_permitted) X(internal) \
  /* admission */ \
  X(unsafe_path) X(unsafe_owner) X(unsafe_file_type) X(attestation_missing) X(attestation_malformed) \
  X(attestation_unsupported) X(untrusted_key) X(threshold_not_met) X(digest_mismatch) X(name_mismatch) \
  X(version_mismatch) X(version_rollback) X(os_mismatch) X(arch_mismatch) X(expired) X(revoked) \
  X(keyring_invalid) X(not_elf) X(elf_malformed) X(elf_wrong_machine) X(elf_dynamic) \
  X(elf_writable_code) X(elf_executable_stack) X(elf_not_pie) X(floor_unwritable) X(memory_budget) \
  /* launch and life */ \
  X(sandbox_changed) X(sandbox_gone) X(host_namespace) X(exited) X(signaled) X(killed) X(unhealthy) \
  X(not_ready) X(spawner_gone) X(volume_missing)
// clang-format on

enum class Stage : std::uint8_t {
#define X(name) name,
  FALLBACKD_STAGES(X)
#undef X
};

enum class Reason : std::uint8_t {
#define X(name) name,
  FALLBACKD_REASONS(X)
#undef X
};

/// The metric label and log field of a stage or reason, for example "health_check".
std::string_view toString(Stage stage);
std::string_view toString(Reason reason);

struct Error {
  Stage stage;
  Reason reason;
  int errnum = 0;       // errno of the system call that failed, 0 if none did
  std::string context;  // what was done, to which object; each layer adds one clause
  std::source_location where = std::source_location::current();

  /// One line for people: "admission: digest_mismatch: CONTEXT: ERRNO TEXT".
  [[nodiscard]] std::string message() const;
};

template <class T = void>
using Result = tl::expected<T, Error>;

/// Whether a retry may soon succeed: the machine was short of a resource, or one of our helper processes
/// died.
[[nodiscard]] bool isTemporary(const Error& error);

/// Whether containerd gave no answer: it is down, restarting, overloaded, or failed internally. Such an error
/// reveals nothing about the object of the request.
[[nodiscard]] bool isSilence(const Error& error);

/// The failing half of a Result.
tl::unexpected<Error> fail(Stage stage, Reason reason, std::string context, int errnum = 0,
                           std::source_location where = std::source_location::current());

/// A failed system call: captures the current errno.
tl::unexpected<Error> failErrno(Stage stage, std::string context, int errnum = errno,
                                std::source_location where = std::source_location::current());

/// The text of an errno value ("Permission denied"), safe in every thread.
std::string errnoText(int errnum);

}  // namespace fallbackd

// FB_TRY(auto value, expression): declares `value`, or returns the error to the caller.
// FB_CHECK(expression): the same without a value. FB_CO_*: the same inside a coroutine.
#define FB_CONCAT_INNER(a, b) a##b
#define FB_CONCAT(a, b) FB_CONCAT_INNER(a, b)
#define FB_TRY_IMPL(ret, tmp, decl, ...)                                      \
  auto tmp = (__VA_ARGS__);                                                   \
  if (!tmp) ret ::tl::unexpected<::fallbackd::Error>(std::move(tmp).error()); \
  decl = std::move(*tmp)
#define FB_CHECK_IMPL(ret, tmp, ...) \
  if (auto tmp = (__VA_ARGS__); !tmp) ret ::tl::unexpected<::fallbackd::Error>(std::move(tmp).error())
#define FB_TRY(decl, ...) FB_TRY_IMPL(return, FB_CONCAT(fbTry, __LINE__), decl, __VA_ARGS__)
#define FB_CHECK(...) FB_CHECK_IMPL(return, FB_CONCAT(fbTry, __LINE__), __VA_ARGS__)
#define FB_CO_TRY(decl, ...) FB_TRY_IMPL(co_return, FB_CONCAT(fbTry, __LINE__), decl, __VA_ARGS__)
#define FB_CO_CHECK(...) FB_CHECK_IMPL(co_return, FB_CONCAT(fbTry, __LINE__), __VA_ARGS__)
