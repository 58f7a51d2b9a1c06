"""The checks: each a small async function from the patient to one finding, one module for each thing depended on."""
