/* What QEMU's plugin interface has of use here: no package brings its header. The same in its versions 1 (QEMU 4.2 to 8.2)
 * to 6; PLUGIN_API says to QEMU which one is meant. From version 7 on the callbacks have other arguments
 * (QEMU include/plugins/qemu-plugin.h, "version 7"). */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct about { const char *target; struct { int least, latest; } api; bool whole_system; };
struct block;
struct instruction;
typedef void on_cpu(uint64_t id, unsigned cpu);
typedef void on_end(uint64_t id, void *data);
typedef void on_block(uint64_t id, struct block *block);
typedef void on_execution(unsigned cpu, void *data);
typedef void on_access(unsigned cpu, uint32_t access, uint64_t address, void *data);
typedef void on_call(uint64_t id, unsigned cpu, int64_t number, uint64_t, uint64_t, uint64_t, uint64_t, uint64_t, uint64_t,
                     uint64_t, uint64_t);
typedef void on_return(uint64_t id, unsigned cpu, int64_t number, int64_t result);
enum { NO_REGISTERS = 0, READS_AND_WRITES = 3, LATEST_API = 6 };
void qemu_plugin_register_vcpu_init_cb(uint64_t id, on_cpu *);
void qemu_plugin_register_vcpu_exit_cb(uint64_t id, on_cpu *);
void qemu_plugin_register_atexit_cb(uint64_t id, on_end *, void *data);
void qemu_plugin_register_vcpu_tb_trans_cb(uint64_t id, on_block *);
void qemu_plugin_register_vcpu_syscall_cb(uint64_t id, on_call *);
void qemu_plugin_register_vcpu_syscall_ret_cb(uint64_t id, on_return *);
void qemu_plugin_register_vcpu_tb_exec_cb(struct block *, on_execution *, int registers, void *data);
void qemu_plugin_register_vcpu_mem_cb(struct instruction *, on_access *, int registers, int reads_or_writes, void *data);
size_t qemu_plugin_tb_n_insns(const struct block *);
struct instruction *qemu_plugin_tb_get_insn(const struct block *, size_t);
uint64_t qemu_plugin_insn_vaddr(const struct instruction *);
size_t qemu_plugin_insn_size(const struct instruction *);
unsigned qemu_plugin_mem_size_shift(uint32_t access);
bool qemu_plugin_mem_is_store(uint32_t access);
const char *qemu_plugin_path_to_binary(void) __attribute__((weak)); /* not in QEMU 6.2 */
